#!/usr/bin/env node
/**
 * Every check over a reference set made by the real tools: `npm run parity -- [--reference DIR] [--part NAME]`.
 * Cases are discovered from the set's manifests; another set of the same form runs as it is.
 * Closes with `N passed, N failed`; exit 1 when anything failed, 2 for wrong usage.
 */
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Checks, describe } from './checks.mjs';
import { partAdapters } from './part-adapters.mjs';
import { partFused, partMerged } from './part-fused.mjs';
import { partReal } from './part-real.mjs';
import { partBase } from './runtime-base.mjs';
import { partInference } from './runtime-parts.mjs';
import { partShapes } from './runtime-pipeline.mjs';
import { partTerms } from './terms.mjs';
import { partTrainingData } from './training-data.mjs';
import { partTrainingOptimizers } from './training-optimizers.mjs';
import { partTrainingParquet } from './training-parquet.mjs';
import { partTrainingReferences } from './training-references.mjs';
import { partTrainingResult } from './training-result.mjs';
import { partTrainingRun } from './training-run.mjs';
import { partScenarios } from './training-scenarios.mjs';
import { partTrainingSdxl } from './training-sdxl.mjs';

/** Parts that are built, and the file without which a set does not have them. */
const PARTS = new Map([
	[
		'adapters',
		{
			index: 'manifest.json',
			run: async (checks, root) => {
				const outcomes = await partAdapters(checks, root);
				await partTerms(checks, root);
				return outcomes;
			},
		},
	],
	['adapters/fused', { index: '../manifest.json', run: partFused }],
	['inference/merged', { index: '../manifest.json', run: partMerged }],
	['base', { index: '../inference/manifest.json', run: partBase }],
	['inference', { index: 'manifest.json', run: partInference }],
	['inference-shapes', { index: 'pipeline.json', run: partShapes }],
	[
		'training',
		{
			index: 'manifest.json',
			run: async (checks, root) => {
				await partTrainingData(checks, root);
				await partTrainingParquet(checks, root);
				await partTrainingOptimizers(checks, root);
				await partScenarios(checks, root);
				await partTrainingRun(checks, root);
				await partTrainingResult(checks, root);
				await partTrainingReferences(checks, path.dirname(root));
				await partTrainingSdxl(checks);
			},
		},
	],
	['real', { index: 'expected.json', run: partReal }],
]);
/** Parts that come with their issues. */
const LATER = ['merged'];

const { values } = parseArgs({
	options: { reference: { type: 'string' }, part: { type: 'string', multiple: true }, help: { type: 'boolean', short: 'h' } },
});
if (values.help === true) {
	const names = [...PARTS.keys()].map((name) => `[--part ${name}]`).join(' ');
	console.log(`npm run parity -- [--reference DIR] ${names}\nDIR defaults to ../shared/reference.`);
	process.exit(0);
}
const here = path.dirname(fileURLToPath(import.meta.url));
const reference = path.resolve(values.reference ?? path.join(here, '../../../shared/reference'));
const chosen = values.part ?? [...PARTS.keys()];
const unknown = chosen.find((name) => !PARTS.has(name));
if (unknown !== undefined || !existsSync(reference)) {
	console.error(
		unknown === undefined
			? `${reference} is not there; pass --reference DIR.`
			: `${unknown} is no part; built are ${[...PARTS.keys()].join(', ')}.`,
	);
	process.exit(2);
}

const checks = new Checks();
for (const [name, part] of PARTS) {
	if (!chosen.includes(name)) continue;
	const root = path.join(reference, name);
	if (!existsSync(path.join(root, part.index))) {
		console.log(`${name}: this set has none (${path.join(name, part.index)} is not there)`);
		continue;
	}
	const [passed, failed] = [checks.passed, checks.failed];
	try {
		summarise(name, await part.run(checks, root));
	} catch (error) {
		checks.check(name, 'the part can be run', describe(error));
	}
	console.log(`${name}: ${checks.passed - passed} passed, ${checks.failed - failed} failed`);
}
const there = new Set(
	readdirSync(reference, { withFileTypes: true })
		.filter((e) => e.isDirectory())
		.map((e) => e.name),
);
for (const name of new Set([...LATER, ...there])) {
	if (PARTS.has(name)) continue;
	const here2 = existsSync(path.join(reference, name));
	console.log(`${name}: not built yet, not counted${here2 ? '' : ' (nor in this set)'}`);
}
console.log(`${checks.passed} passed, ${checks.failed} failed`);
process.exitCode = checks.failed > 0 ? 1 : 0;

/** How the round trips went, in numbers: a refusal passes its check, so it is said here. */
function summarise(name, outcomes) {
	if (outcomes === undefined) return;
	const counts = new Map();
	for (const { outcome, code } of outcomes.values()) {
		const key = code === undefined ? outcome : `${outcome} ${code}`;
		counts.set(key, (counts.get(key) ?? 0) + 1);
	}
	console.log(
		`${name}: round trips: ${[...counts]
			.sort()
			.map(([key, n]) => `${n} ${key}`)
			.join(', ')}`,
	);
}
