/* The page of one example. */
import { start } from "./start";

start(async () => ({}));
