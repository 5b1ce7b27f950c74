// TeX formulas as SVG, for pages that carry all they need: [[tex, display], ...] as JSON in, [svg, ...] out.
// node tex.mjs FOLDER, where FOLDER has node_modules/mathjax.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const MathJax = await createRequire(`${process.argv[2]}/`)("mathjax").init({
  loader: { load: ["input/tex-full", "output/svg"] }, tex: { packages: { "[-]": ["noundefined", "noerrors"] } }, svg: { fontCache: "none" } });
const found = JSON.parse(readFileSync(0, "utf8")).map(([tex, display]) =>
  MathJax.startup.adaptor.innerHTML(MathJax.tex2svg(tex, { display })));
process.stdout.write(JSON.stringify(found));
