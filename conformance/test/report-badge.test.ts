import Ajv2020 from 'ajv/dist/2020.js';
import { describe, expect, it } from 'vitest';
import { badgeJson } from '../src/report/badge.js';
import type { Counts, LevelSummary, Report } from '../src/report/report.js';
import type { Level } from '../src/suite/case.js';

/** The fields of https://shields.io/badges/endpoint-badge; anything else makes shields show "invalid". */
const SHIELDS = {
	type: 'object',
	required: ['schemaVersion', 'label', 'message'],
	additionalProperties: false,
	properties: {
		schemaVersion: { const: 1 },
		label: { type: 'string' },
		message: { type: 'string', minLength: 1 },
		// Shields' own names.
		color: { enum: ['brightgreen', 'green', 'yellowgreen', 'yellow', 'orange', 'red', 'blue', 'lightgrey'] },
		labelColor: { type: 'string' },
		isError: { type: 'boolean' },
		namedLogo: { type: 'string' },
		logoSvg: { type: 'string' },
		logoColor: { type: 'string' },
		logoSize: { type: 'string' },
		style: { enum: ['flat', 'flat-square', 'plastic', 'for-the-badge', 'social'] },
		cacheSeconds: { type: 'integer', minimum: 300 },
	},
};
const validate = new Ajv2020.default().compile(SHIELDS);

const NONE: Counts = { passed: 0, failed: 0, known: 0, unexpected: 0, inconclusive: 0, skipped: 0 };

function report(levels: Readonly<Partial<Record<Level, Partial<Counts>>>>): Report {
	const summaries = Object.entries(levels).map(
		([level, some]): LevelSummary => ({
			level: level as Level,
			counts: { ...NONE, ...some },
			largestShare: null,
			largestUlps: null,
			grade: null,
			derivations: [],
			earned: (some.passed ?? 0) > 0 && (some.failed ?? 0) + (some.known ?? 0) + (some.unexpected ?? 0) + (some.inconclusive ?? 0) === 0,
		}),
	);
	const counts = { ...NONE };
	for (const { counts: c } of summaries) for (const key of Object.keys(NONE) as (keyof Counts)[]) counts[key] += c[key];
	return {
		...{ schema: 'lora.conformance/1', suite: '1.0.0', profile: null, isolation: 'hashes', ok: counts.failed + counts.unexpected === 0 },
		...{ counts, levels: summaries, diagnoses: [], stalePatterns: [], outside: [], results: [] },
		subject: { name: 'x', version: '1', language: null, homepage: null, issues: null, device: null, precision: 'f32', features: null },
		run: { seconds: 1, jobs: 1, restarts: 0, node: 'v20' },
	};
}

describe('the badge', () => {
	it.each([
		['all right', { L0: { passed: 3 }, L1: { passed: 2 } }, 'L1 5/5', 'brightgreen'],
		[
			'a level that is wholly skipped neither earns nor breaks',
			{ L0: { passed: 3 }, L1: { skipped: 2 }, L2: { passed: 1 } },
			'L2 4/4',
			'brightgreen',
		],
		['known failures', { L0: { passed: 3 }, L1: { passed: 1, known: 1 } }, 'L0 4/5', 'yellowgreen'],
		['failures', { L0: { passed: 3 }, L1: { passed: 1, failed: 1 } }, 'L0 4/5', 'red'],
		['nothing earned', { L0: { passed: 3, known: 1 } }, '3/4', 'lightgrey'],
		['inconclusive', { L4: { passed: 3 }, L6: { inconclusive: 4 } }, 'L4 3/3', 'brightgreen'],
		['nothing asked', { L0: { skipped: 3 } }, 'nothing asked', 'lightgrey'],
	] as const)('%s', (_, levels, message, color) => {
		const badge = JSON.parse(badgeJson(report(levels))) as unknown;
		expect(validate(badge), JSON.stringify(validate.errors)).toBe(true);
		expect(badge).toEqual({ schemaVersion: 1, label: 'LoRA conformance', message, color });
	});
});
