/* Classic scripts, which Python puts into the pages: `vite build` makes the explanation's, `vite build --mode training`
   that of one which trains too, `--mode modules` that of any PyTorch module, `--mode report` the report's. No source map, no hash in a name. */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { defineConfig, type UserConfig } from "vite";

/** Of everything that the bundle is made of; tests/explain/test_page.py computes it again. */
function sourceHash(): string {
  const hash = createHash("sha256");
  const sources = readdirSync("src").sort().map((name) => `src/${name}`);
  for (const path of ["package-lock.json", "vite.config.ts", ...sources]) hash.update(`${path}\n`).update(readFileSync(path));
  return hash.digest("hex");
}

const PREACT = " Contains Preact, (c) 2015-present Jason Miller, MIT licence.";
const SCRIPTS: Record<string, { entry: string; fileName: string; contains: string }> = {
  production: { entry: "src/main.tsx", fileName: "explain.js", contains: PREACT },
  training: { entry: "src/learning.tsx", fileName: "training.js", contains: PREACT },
  modules: { entry: "src/modules.tsx", fileName: "modules.js", contains: PREACT },
  report: { entry: "src/report.ts", fileName: "report.js", contains: "" },
};

export default defineConfig(({ mode }) => {
  const { entry, fileName, contains } = SCRIPTS[mode] ?? SCRIPTS.production!;
  return {
    esbuild: { jsx: "automatic", jsxImportSource: "preact", charset: "utf8", legalComments: "none" },
    build: {
      outDir: "../src/chainrule/pages/templates",
      emptyOutDir: false,
      target: "es2022",
      lib: { entry, formats: ["iife"], name: "chainrule", fileName: () => fileName },
    },
    plugins: [
      {
        name: "notice", // once the code is minified, which would take it out
        generateBundle(_, bundle) {
          const notice = `/*! Built from web/, sources ${sourceHash()}.${contains} */\n`;
          for (const part of Object.values(bundle)) if (part.type === "chunk") part.code = notice + part.code;
        },
      },
    ],
    test: { include: ["tests/*.test.ts"] },
  } as UserConfig;
});
