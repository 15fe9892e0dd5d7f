// DIAGNOSES.md from src/diagnose/diagnoses.ts (built): node conformance/scripts/diagnoses.mjs [--check]
import { readFileSync, writeFileSync } from 'node:fs';
import { CODES, sentenceOf } from '../dist/diagnose/diagnoses.js';

const file = new URL('../DIAGNOSES.md', import.meta.url);
const text = `# Diagnoses

The closed list of \`diagnosis.code\` in reports. A new code is a minor version of the suite, a changed meaning a major one. Made by \`scripts/diagnoses.mjs\`.

A case's diagnosis is \`{code, sentence, modules, gain, cosine, evidenceLevel, runnersUp, detail?}\`:

- **gain** and **cosine** are of what was added against what should have been: gain = <got, due> / <due, due>. A fault's gain often names it: 0 nothing was added, 2 twice, -1 the sign, alpha / rank or its inverse.
- **evidenceLevel**: \`weights\` a formula reproduces every number within the precision · \`scaling\` the same on factors alone · \`outputs\` gain and cosine of outputs, or a recorded wrong output · \`names\` names and verdicts · \`image\` latents and pictures: a recorded wrong run, else that it is wrong, not why.
- **runnersUp** are codes that the same evidence allows. The run as a whole has more evidence: \`diagnoses\` of the report names the fault that explains most failed cases and is contradicted by no passed one.

With s the user's strength, k what multiplies the delta; right is k = s * alpha / rank.

| code | what it is |
|---|---|
${CODES.map((code) => `| \`${code}\` | ${sentenceOf(code).replaceAll('|', '\\|')} |`).join('\n')}
`;
if (process.argv.includes('--check')) {
	if (readFileSync(file, 'utf8') !== text) {
		process.stderr.write('DIAGNOSES.md is not what scripts/diagnoses.mjs makes; run it.\n');
		process.exitCode = 1;
	}
} else writeFileSync(file, text);
