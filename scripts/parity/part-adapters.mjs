import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, same, sha256, Wrongs } from './checks.mjs';
import { worstAgainstF32 } from './deltas.mjs';
import { checkDelta, checkModule, shapeToAsk } from './digest.mjs';
import { decodeWithHelp, openFile, openInput, orderOf } from './inputs.mjs';
import { decodeFloats, deltaOf, needsBase } from './library.mjs';
import { baseOf } from './reference-base.mjs';
import { foldedError, roundTrip, TARGETS } from './round-trip.mjs';

/**
 * `adapters`: files by the real savers. Cases and everything about them come from manifest.json and the digests.
 *
 * @param {import('./checks.mjs').Checks} checks
 * @param {string} root the folder `adapters` of a reference set
 */
export async function partAdapters(checks, root) {
	const manifest = JSON.parse(readFileSync(path.join(root, 'manifest.json'), 'utf8'));
	const context = { checks, root, base: await baseOf(root, manifest.base), groups: new Map(), outcomes: new Map() };
	for (const spec of manifest.cases) {
		const before = checks.passed + checks.failed;
		try {
			await runCase(context, spec);
		} catch (error) {
			checks.check(`adapters ${spec.case}`, 'the case can be run', describe(error));
		}
		if (checks.passed + checks.failed === before) checks.check(`adapters ${spec.case}`, 'the case has a check', 'it has none');
	}
	checks.check(
		'adapters',
		'the reference set has no case that failed to be made',
		same(manifest.failed ?? [], []) ? undefined : JSON.stringify(manifest.failed).slice(0, 200),
	);
	compareGroups(context);
	return context.outcomes;
}

async function runCase(context, spec) {
	const { checks, root } = context;
	const where = `adapters ${spec.case}`;
	const digest = JSON.parse(readFileSync(path.join(root, spec.expected), 'utf8'));
	const wrong = new Wrongs();
	for (const file of spec.files) {
		const bytes = readFileSync(path.join(root, file.file));
		if (sha256(bytes) !== file.sha256 || (file.bytes !== undefined && bytes.length !== file.bytes)) wrong.add(file.file);
	}
	for (const [file, hash] of Object.entries(digest.sha256 ?? {})) if (sha256(readFileSync(path.join(root, file))) !== hash) wrong.add(file);
	checks.check(where, 'the files are those of the manifest', wrong.text);
	checks.check(
		where,
		'manifest and digest name one layout',
		spec.layout === digest.layout ? undefined : `${spec.layout} and ${digest.layout}`,
	);

	const main = path.join(root, spec.files[0].file);
	const input = await openInput(main);
	checkCompanions(checks, where, spec, digest, input);
	const order = orderOf(spec.producer);
	const read = decodeWithHelp(input, { base: context.base?.inventory, order });
	const { adapter, layout } = read.decoded;
	checks.check(where, `is detected as ${spec.layout}`, layout.id === spec.layout ? undefined : layout.id);
	if (read.needed !== 'nothing') console.log(`note ${where}: the file alone does not decide, read with ${read.needed}`);

	const byKey = new Map(adapter.modules.map((m) => [`${m.component}.${m.path}.weight`, m]));
	const missing = Object.keys(digest.modules).filter((key) => !byKey.has(key));
	const extra = [...byKey.keys()].filter((key) => digest.modules[key] === undefined);
	checks.check(
		where,
		'the modules are those of the digest',
		missing.length + extra.length === 0 ? undefined : `lacks ${missing.length} (${missing[0]}), has ${extra.length} others (${extra[0]})`,
	);
	checkWhole(checks, where, digest, adapter, input);
	const stored = await openFile(path.join(root, spec.deltas));
	await checkModules(context, { where, spec, digest, byKey, stored });
	await checkEmbeddings(checks, where, root, digest, adapter);
	await checkRoundTrips(context, { where, spec, read, order, tolerance: digest.tolerance?.abs ?? 1e-6 });
}

/** What the library found beside the file is what the manifest lists, and the embeddings of the digest. */
function checkCompanions(checks, where, spec, digest, input) {
	const listed = spec.files.slice(1).map((f) => path.basename(f.file));
	const wantsConfig = listed.includes('adapter_config.json');
	checks.check(
		where,
		'adapter_config.json is found beside it',
		wantsConfig === (input.config !== undefined) ? undefined : `${input.config !== undefined}`,
	);
	const wantsText = listed.some((name) => name.includes('text_encoder'));
	checks.check(
		where,
		'its text encoder file is found beside it',
		wantsText === (input.textEncoder !== undefined) ? undefined : `${input.textEncoder !== undefined}`,
	);
	const embeddings = digest.embeddings?.file;
	const beside = embeddings !== undefined && !spec.files.some((f) => f.file === embeddings);
	checks.check(
		where,
		'its embedding file is found beside it',
		beside === input.embeddings.length > 0 ? undefined : `${input.embeddings.length} found`,
	);
}

function checkWhole(checks, where, digest, adapter, input) {
	const counts = {};
	for (const m of adapter.modules) counts[m.component] = (counts[m.component] ?? 0) + 1;
	const wrong = new Wrongs();
	for (const [component, n] of Object.entries(digest.count ?? {}))
		if ((counts[component] ?? 0) !== n) wrong.add(`${counts[component] ?? 0} in ${component} instead of ${n}`);
	checks.check(where, 'modules per component', wrong.text);
	if (digest.component !== undefined) {
		const other = adapter.modules.find((m) => m.component !== digest.component);
		checks.check(where, `every module is of ${digest.component}`, other === undefined ? undefined : other.component);
	}
	checks.check(
		where,
		'needs the base or not',
		adapter.modules.some(needsBase) === (digest.needs_base === true) ? undefined : `${!(digest.needs_base === true)}`,
	);
	checks.check(where, 'no tensor is unknown', adapter.unknown.size === 0 ? undefined : [...adapter.unknown.keys()].slice(0, 3).join(', '));
	for (const [key, value] of Object.entries(digest.metadata ?? {})) {
		checks.check(where, `header entry ${key}`, input.file.metadata.get(key) === value ? undefined : `${input.file.metadata.get(key)}`);
	}
	if (digest.adapter_metadata !== undefined) {
		const parsed = JSON.parse(input.file.metadata.get('lora_adapter_metadata') ?? '{}');
		const differing = new Wrongs();
		for (const [key, value] of Object.entries(digest.adapter_metadata))
			if (!same(parsed[key], value)) differing.add(`${key} is ${JSON.stringify(parsed[key])}`);
		checks.check(where, 'lora_adapter_metadata', differing.text);
	}
}

async function checkModules(context, { where, spec, digest, byKey, stored }) {
	const { checks } = context;
	const wrongs = new Map();
	const note = (results, key) => {
		for (const [name, wrong] of results) {
			if (!wrongs.has(name)) wrongs.set(name, new Wrongs());
			if (wrong !== undefined) wrongs.get(name).add(`${key}: ${wrong}`);
		}
	};
	const isList = spec.layout === 'cloneofsimo-list';
	const storedWrong = new Wrongs();
	const seen = new Set();
	const absent = [];
	const data = new Map();
	for (const [key, want] of Object.entries(digest.modules)) {
		const module = byKey.get(key);
		if (module === undefined) continue;
		note(await checkModule(want, module, isList), key);
		const base = needsBase(module) ? context.base?.weightOf(module.component, module.path) : undefined;
		const delta = await deltaOf(module, { base: await base, shape: shapeToAsk(want, module) });
		note(checkDelta(want, delta), key);
		data.set(key, delta.weight.data);
		const tensor = stored.tensors.get(key);
		if (tensor === undefined) {
			if (want.stored === true) absent.push(key);
			continue;
		}
		seen.add(key);
		const wrong = worstAgainstF32(delta.weight.data, decodeFloats(tensor.dtype, await tensor.read()));
		if (wrong > 0) storedWrong.add(`${key}: ${wrong} of ${delta.weight.data.length} values differ`);
	}
	for (const [name, w] of wrongs) checks.check(where, `every module: ${name}`, w.text);
	// Where one file of deltas serves two cases, the second's flags are its own and only the number is of the file.
	if (absent.length > 0 && seen.size !== digest.deltas_stored) storedWrong.add(`${absent.length} are not in ${spec.deltas} (${absent[0]})`);
	if (typeof digest.deltas_stored === 'number' && seen.size < digest.deltas_stored)
		storedWrong.add(`${seen.size} of ${digest.deltas_stored} are there`);
	checks.check(where, 'the stored deltas', storedWrong.text);
	const folder = path.basename(path.dirname(spec.files[0].file)) === 'same-adapter' || spec.files[0].file.startsWith('same-adapter/');
	if (folder) context.groups.set(spec.case, data);
}

async function checkEmbeddings(checks, where, root, digest, adapter) {
	const wanted = Object.entries(digest.embeddings?.values ?? {});
	checks.check(
		where,
		'as many embeddings',
		adapter.embeddings.length === wanted.length ? undefined : `${adapter.embeddings.length} instead of ${wanted.length}`,
	);
	for (const [token, values] of wanted) {
		const found = adapter.embeddings.find((e) => e.token === token);
		const data = found === undefined ? undefined : decodeFloats(found.vectors.dtype, await found.vectors.read());
		checks.check(
			where,
			`embedding ${token}`,
			data !== undefined && same([...data], values.flat()) ? undefined : found === undefined ? 'it is not there' : 'it has other values',
		);
	}
	if (digest.embeddings?.sha256 !== undefined) {
		const file = path.join(root, digest.embeddings.file);
		checks.check(
			where,
			'the embedding file',
			existsSync(file) && sha256(readFileSync(file)) === digest.embeddings.sha256 ? undefined : 'another file',
		);
	}
}

async function checkRoundTrips(context, { where, spec, read, order, tolerance }) {
	const { checks, outcomes } = context;
	for (const target of TARGETS) {
		const how = {
			from: spec.layout,
			to: target.id,
			container: target.container,
			order: read.needed.includes('--order') ? order : undefined,
		};
		const result = await roundTrip(read.input, how);
		outcomes.set(`${spec.case} ${target.id}`, result);
		checks.check(where, `to ${target.id} and back, or refused with the loss named`, result.outcome === 'failed' ? result.why : undefined);
		if (result.code !== 'E_ALPHA_NO_SLOT') continue;
		await checks.run(where, `to ${target.id} with the scaling folded in, within ${tolerance}`, async () => {
			const error = await foldedError(read.input, how, context.base?.weightOf);
			return typeof error === 'string' || error > tolerance ? `${error}` : undefined;
		});
	}
}

/** All forms of one adapter: the same modules, and deltas equal bit for bit in float64. */
function compareGroups({ checks, groups }) {
	const [first, ...others] = groups;
	if (first === undefined) return;
	const [name, deltas] = first;
	for (const [other, theirs] of others) {
		const wrong = new Wrongs();
		if (theirs.size !== deltas.size) wrong.add(`${theirs.size} modules instead of ${deltas.size}`);
		for (const [key, data] of deltas) {
			const more = theirs.get(key);
			if (more === undefined || !data.every((x, i) => x === more[i]) || data.length !== more.length) wrong.add(key);
		}
		checks.check(`adapters ${other}`, `is ${name} bit for bit`, wrong.text);
	}
	checks.check('adapters same-adapter', 'it has more than one form', others.length > 0 ? undefined : 'only one');
}
