/* One classic script, which page.py puts into every page; no source map, no hash in its name. */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { defineConfig } from "vite";

/** Of everything that the bundle is made of; tests/test_explain_page.py computes it again. */
function sourceHash(): string {
  const hash = createHash("sha256");
  const sources = readdirSync("src").sort().map((name) => `src/${name}`);
  for (const path of ["package-lock.json", "vite.config.ts", ...sources]) hash.update(`${path}\n`).update(readFileSync(path));
  return hash.digest("hex");
}

const notice = `/*! Built from web/, sources ${sourceHash()}. Contains Preact, (c) 2015-present Jason Miller, MIT licence. */`;

export default defineConfig({
  esbuild: { jsx: "automatic", jsxImportSource: "preact", charset: "utf8", legalComments: "none" },
  build: {
    outDir: "../src/chainrule/templates",
    emptyOutDir: false,
    target: "es2022",
    lib: { entry: "src/main.tsx", formats: ["iife"], name: "chainrule", fileName: () => "explain.js" },
  },
  plugins: [
    {
      name: "notice", // once the code is minified, which would take it out
      generateBundle(_, bundle) {
        for (const part of Object.values(bundle)) if (part.type === "chunk") part.code = `${notice}\n${part.code}`;
      },
    },
  ],
  test: { include: ["tests/*.test.ts"] },
} as Parameters<typeof defineConfig>[0]);
