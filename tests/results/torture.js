// Makes torture.json and torture.md of what the tests measured: `node torture.js <file>`. The file has a line of JSON per
// fault, written by the tests (see `ingest/tests/yard/record.rs`). Tests judge what is lost, this judges what is slow: it
// fails too if a figure in `measured` is larger than its `at_most`.
"use strict";
const { execSync } = require("node:child_process");
const { readFileSync, writeFileSync } = require("node:fs");
const { cpus, release } = require("node:os");
const { join } = require("node:path");

const lines = readFileSync(process.argv[2], "utf8").trim().split("\n").map((line) => JSON.parse(line));
// What ran in parts side by side is one fault.
const faults = [...new Set(lines.map((line) => line.fault))].map((fault) => {
  const parts = lines.filter((line) => line.fault === fault);
  const sum = (name) => parts.reduce((total, part) => total + part[name], 0);
  const kinds = {};
  for (const part of parts) for (const [kind, count] of Object.entries(part.kinds ?? {})) kinds[kind] = (kinds[kind] ?? 0) + count;
  const sums = Object.fromEntries(["count", "lost", "twice", "rollup_mismatches", "crashes", "hangs"].map((name) => [name, sum(name)]));
  const seconds = Math.max(...parts.map((part) => part.seconds));
  return { ...parts[0], ...sums, kinds, seed: parts.map((part) => part.seed).join(" "), seconds, passed: parts.every((part) => part.passed) };
});
const commit = execSync("git describe --always --dirty --abbrev=10", { cwd: __dirname, encoding: "utf8" }).trim();
const machine = `${cpus().length} cores (${cpus()[0].model}), Linux ${release()}`;
const date = new Date().toISOString().slice(0, 10);
writeFileSync(join(__dirname, "torture.json"), JSON.stringify({ date, commit, machine, faults }, null, 2) + "\n");

const row = (cells) => `| ${cells.join(" | ")} |\n`;
const columns = ["count", "lost", "twice", "rollup_mismatches", "crashes", "hangs", "seed", "seconds", "passed"];
let page = `# What the writer survived

\`make torture\`, ${date}, commit ${commit}, ${machine}. The same figures are in \`tests/results/torture.json\`.

${row(["fault", ...columns.map((name) => name.replace("_", " "))])}${row(["---", ...columns.map(() => "---")])}`;
for (const fault of faults) page += row([fault.fault, ...columns.map((name) => fault[name])]);
page += `
- count: faults injected, damaged files read, or sequences run against a model.
- lost, twice: interactions that were promised and are neither stored nor accounted for, and that are stored twice.
- rollup mismatches: batches of which the raw table and what a materialized view counted differ.
- crashes, hangs: processes that ended otherwise than asked, and conditions that did not come true in time.
- \`SHARDLAKE_SEED\` repeats a run; the moments at which processes are scheduled stay the machine's.
`;
for (const fault of faults) {
  const kinds = Object.entries(fault.kinds ?? {});
  if (kinds.length === 0) continue;
  page += `\n## Of these: ${fault.fault}\n\n${row(["kind", "count"])}${row(["---", "---"])}`;
  for (const [kind, count] of kinds) page += row([kind, count]);
}
const met = ({ value, at_most }) => at_most === undefined || value <= at_most;
const shown = (number, unit) => `${Number(number.toFixed(3)).toLocaleString("en")} ${unit}`.trim();
for (const fault of faults) {
  const figures = Object.entries(fault.measured ?? {});
  if (figures.length === 0) continue;
  page += `\n## Measured: ${fault.fault}\n\n${row(["figure", "measured", "at most", "met"])}${row(["---", "---", "---", "---"])}`;
  for (const [name, figure] of figures) {
    const { value, unit, at_most } = figure;
    page += row([name, shown(value, unit), ...(at_most === undefined ? ["", ""] : [shown(at_most, unit), met(figure)])]);
  }
}
writeFileSync(join(__dirname, "torture.md"), page);
const missed = faults.flatMap((fault) => Object.entries(fault.measured ?? {}).filter(([, figure]) => !met(figure)));
for (const [name, { value, unit, at_most }] of missed) console.error(`missed: ${name}: ${shown(value, unit)}, at most ${shown(at_most, unit)}`);
process.exitCode = missed.length === 0 && faults.every((fault) => fault.passed) ? 0 : 1;
