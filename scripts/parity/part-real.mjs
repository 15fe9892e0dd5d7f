import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, same, sha256, Wrongs } from './checks.mjs';
import { DTYPES } from './digest.mjs';
import { decodeWithHelp, openInput } from './inputs.mjs';
import { decodeAdapter } from './library.mjs';
import { roundTrip } from './round-trip.mjs';

/** The roads of the issue: through each and back. */
const ROADS = [
	{ to: 'diffusers', container: 'safetensors' },
	{ to: 'kohya', container: 'safetensors' },
	{ to: 'cloneofsimo-safetensors', container: 'safetensors' },
	{ to: 'cloneofsimo-list', container: 'torch-zip' },
];

/**
 * `real`: files that others trained and published. Everything about them comes from expected.json.
 *
 * @param {import('./checks.mjs').Checks} checks
 * @param {string} root the folder `real` of a reference set
 */
export async function partReal(checks, root) {
	const expected = JSON.parse(readFileSync(path.join(root, 'expected.json'), 'utf8'));
	for (const [name, want] of Object.entries(expected)) {
		const where = `real ${name}`;
		if (!existsSync(path.join(root, name))) {
			checks.check(where, 'the file is there', 'it is not');
			continue;
		}
		try {
			await runFile(checks, where, path.join(root, name), want);
		} catch (error) {
			checks.check(where, 'the file can be read', describe(error));
		}
	}
}

async function runFile(checks, where, file, want) {
	const input = await openInput(file);
	const read = decodeWithHelp(input, { base: undefined, order: undefined });
	await checkAdapter(checks, where, 'directly', read.decoded.adapter, want);
	for (const road of ROADS) {
		const result = await roundTrip(read.input, { from: read.decoded.layout.id, ...road });
		checks.check(where, `through ${road.to} and back`, result.middle !== undefined ? undefined : result.why);
		if (result.middle === undefined) continue;
		await checkAdapter(checks, where, `as ${road.to}`, decodeAdapter(result.middle).adapter, want);
		await checkAdapter(checks, where, `back from ${road.to}`, decodeAdapter(result.back).adapter, want);
	}
}

async function checkAdapter(checks, where, how, adapter, want) {
	const byKey = new Map(adapter.modules.map((m) => [`${m.component}.${m.path}`, m]));
	const keys = Object.keys(want.modules);
	const missing = keys.filter((key) => !byKey.has(key));
	checks.check(
		where,
		`${how}: the modules`,
		missing.length === 0 && byKey.size === keys.length
			? undefined
			: `${byKey.size} instead of ${keys.length}, lacks ${missing[0] ?? 'none'}`,
	);
	const wrong = new Wrongs();
	const strength = new Wrongs();
	for (const [key, spec] of Object.entries(want.modules)) {
		const module = byKey.get(key);
		if (module === undefined) continue;
		if (module.rank !== spec.rank) wrong.add(`${key} has rank ${module.rank} instead of ${spec.rank}`);
		if (module.scaling !== (spec.scaling ?? want.scaling)) strength.add(`${key} has scaling ${module.scaling}`);
		for (const [role, factor] of Object.entries(spec)) {
			if (typeof factor !== 'object' || factor === null) continue;
			const tensor = module.factors[role];
			if (tensor === undefined) wrong.add(`${key} has no ${role}`);
			else if (tensor.dtype !== DTYPES.get(spec.dtype)) wrong.add(`${key} ${role} is ${tensor.dtype}`);
			else if (!same(tensor.shape, factor.shape)) wrong.add(`${key} ${role} is (${tensor.shape}) instead of (${factor.shape})`);
			else if (sha256(await tensor.read()) !== factor.sha256) wrong.add(`${key} ${role} has other bits`);
		}
	}
	checks.check(where, `${how}: every factor`, wrong.text);
	checks.check(where, `${how}: every strength`, strength.text);
	const others = Object.entries(want.other ?? {});
	const others2 = new Wrongs();
	if (adapter.embeddings.length + adapter.unknown.size !== others.length)
		others2.add(`${adapter.embeddings.length} embeddings instead of ${others.length}`);
	for (const [token, spec] of others) {
		const tensor = adapter.embeddings.find((e) => e.token === token)?.vectors ?? adapter.unknown.get(token);
		if (tensor === undefined) others2.add(`${token} is not there`);
		else if (tensor.dtype !== DTYPES.get(spec.dtype) || !same(tensor.shape, spec.shape) || sha256(await tensor.read()) !== spec.sha256)
			others2.add(`${token} is another`);
	}
	checks.check(where, `${how}: what is no factor`, others2.text);
}
