import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, same, sha256, Wrongs } from './checks.mjs';
import { worstAgainstF32 } from './deltas.mjs';
import { decodeWithHelp, openFile, openInput, orderOf } from './inputs.mjs';
import { bytesSource, bytesTensor, decodeFloats, deltaOf, needsBase, openStateDict, plannedFileBytes } from './library.mjs';
import { baseModel, FULL_STRENGTH, fusedTensor, loadKernel, planFuse, verifyFused } from './library-fuse.mjs';

/** Bits of precision and smallest normal exponent. */
const TYPES = new Map([
	['F16', { bits: 11, least: -14 }],
	['BF16', { bits: 8, least: -126 }],
	['F32', { bits: 24, least: -126 }],
	['F64', { bits: 53, least: -1022 }],
]);

/** Spacing of the numbers of a type at `x`. */
function spacing(dtype, x) {
	const { bits, least } = TYPES.get(dtype);
	let exponent = Math.floor(Math.log2(Math.abs(x)));
	if (2 ** exponent > Math.abs(x)) exponent--;
	return 2 ** (Math.max(Number.isFinite(exponent) ? exponent : least, least) - bits + 1);
}

/** Running error of some weights against float64. */
class Errors {
	max = 0;
	steps = 0;
	#sum = 0;
	count = 0;

	/** @param {string} dtype @param {number} got @param {number} exact */
	add(dtype, got, exact) {
		const error = Math.abs(got - exact);
		if (!(error <= this.max)) this.max = error;
		const steps = error / spacing(dtype, exact);
		if (!(steps <= this.steps)) this.steps = steps;
		this.#sum += error;
		this.count++;
	}

	get mean() {
		return this.count === 0 ? 0 : this.#sum / this.count;
	}

	toString() {
		return `max ${this.max.toExponential(2)} (${this.steps.toFixed(3)} steps), mean ${this.mean.toExponential(2)}`;
	}
}

/**
 * `adapters/fused`: base + adapter as the real tools fused them, and as we do. Everything comes from the manifest one folder up.
 *
 * @param {import('./checks.mjs').Checks} checks
 * @param {string} root the folder `adapters/fused` of a reference set
 */
export async function partFused(checks, root) {
	const home = path.dirname(root);
	const manifest = JSON.parse(readFileSync(path.join(home, 'manifest.json'), 'utf8'));
	// The kernel that the command line uses.
	const { id } = await loadKernel();
	console.log(`adapters/fused: computed by the ${id} kernel`);
	const base = await openBase(home, manifest.base);
	const totals = { ours: new Errors(), theirs: new Errors(), all: new Errors() };
	const forms = new Map();
	for (const spec of manifest.cases) {
		try {
			await runCase({ checks, home, base, spec, totals, forms });
		} catch (error) {
			checks.check(`adapters/fused ${spec.case}`, 'the case can be run', describe(error));
		}
	}
	const [first, ...others] = forms;
	for (const [name, hashes] of others) {
		checks.check(`adapters/fused ${name}`, `fused, it is ${first[0]} bit for bit`, same(hashes, first[1]) ? undefined : 'other bytes');
	}
	console.log(`adapters/fused: all ${totals.ours.count} weights of a real tool: ours ${totals.ours}; theirs ${totals.theirs}`);
	console.log(`adapters/fused: all ${totals.all.count} weights that we fuse in ${manifest.cases.length} cases: ${totals.all}`);
}

/** The base of a set in its component folders. */
async function openBase(home, spec) {
	const files = [];
	const configs = new Map();
	for (const [component, entry] of Object.entries(spec ?? {})) {
		if (typeof entry?.file !== 'string') continue;
		const file = path.join(home, entry.file);
		files.push({ path: `${component}/${path.basename(file)}`, component, state: await openFile(file) });
		const config = path.join(path.dirname(file), 'config.json');
		if (existsSync(config)) configs.set(component, JSON.parse(readFileSync(config, 'utf8')));
	}
	return baseModel(files, 'folder', 'base', { configs });
}

async function runCase({ checks, home, base, spec, totals, forms }) {
	const where = `adapters/fused ${spec.case}`;
	const input = await openInput(path.join(home, spec.files[0].file));
	const { decoded } = decodeWithHelp(input, { base: base.inventory, order: orderOf(spec.producer) });
	const { adapter } = decoded;
	const use = { adapter, name: spec.case, strength: FULL_STRENGTH };
	const plan = await planFuse(base, [use]);
	const digest = JSON.parse(readFileSync(path.join(home, spec.expected), 'utf8'));
	const named = plan.touched.map(({ file, name }) => `${file.component}.${name}`).sort();
	checks.check(
		where,
		'the touched tensors are the modules of the digest',
		same(named, Object.keys(digest.modules).sort()) ? undefined : `${named.length} of ${Object.keys(digest.modules).length}`,
	);
	const ours = await fuseWhole(base, plan, checks, where);
	await checkAll({ checks, where, base, adapter, plan, ours, totals });
	// Forms of one adapter must make one model.
	if (spec.files[0].file.startsWith('same-adapter/')) {
		const hashes = [];
		for (const { file, name } of plan.touched) hashes.push([name, sha256(await tensorOf(ours, `${file.component}.${name}`).read())]);
		forms.set(spec.case, hashes);
	}
	if (spec.fused === undefined) {
		const report = await verifyFused(base, [use], ours);
		checks.check(where, 'verify calls ours right', report.ok ? undefined : `${report.cause}: ${report.why}`);
		return;
	}
	const reference = {
		deltas: await openFile(path.join(home, spec.deltas)),
		fused: await openFile(path.join(home, spec.fused.file)),
	};
	const errors = await compare({ checks, where, base, adapter, ours, reference, totals });
	checks.check(
		where,
		`all ${spec.fused.modules_stored} stored modules are compared`,
		errors.modules === spec.fused.modules_stored ? undefined : `${errors.modules}`,
	);
	console.log(`${where}: ${errors.modules} modules: ours ${errors.ours}; ${spec.fused.by}: ${errors.theirs}`);
	await verifyBoth({ checks, where, base, use, plan, ours, fused: reference.fused });
}

/** Write every file of the fused model and read it again; what no module touches must be the same bytes. */
async function fuseWhole(base, plan, checks, where) {
	const files = [];
	const wrong = new Wrongs();
	for (const file of base.files) {
		const touched = plan.byFile.get(file);
		const tensors = new Map(
			[...file.state.tensors].map(([name, tensor]) => {
				const change = touched?.get(name);
				return [name, change === undefined ? tensor : fusedTensor(change)];
			}),
		);
		const bytes = await plannedFileBytes({
			suffix: '',
			tensors,
			metadata: file.state.metadata,
			top: 'dict',
			container: 'safetensors',
			beside: false,
		});
		const state = await openStateDict(bytesSource(bytes, file.path));
		files.push({ ...file, state });
		if (!same([...state.tensors.keys()].sort(), [...file.state.tensors.keys()].sort())) wrong.add(`${file.path} has other names`);
		for (const [name, tensor] of file.state.tensors) {
			const after = state.tensors.get(name);
			if (after === undefined || after.dtype !== tensor.dtype || !same(after.shape, tensor.shape)) wrong.add(`${name} is another`);
			else if (touched?.has(name) !== true && sha256(await after.read()) !== sha256(await tensor.read())) wrong.add(name);
		}
	}
	checks.check(where, 'every other tensor of the base byte for byte', wrong.text);
	return baseModel(files, 'folder', 'ours');
}

/** Every touched weight of ours against base + delta in float64. */
async function checkAll({ checks, where, base, adapter, plan, ours, totals }) {
	const wrong = new Wrongs();
	for (const module of adapter.modules) {
		const key = `${module.component}.${module.path}.weight`;
		const [before, after] = [tensorOf(base, key), tensorOf(ours, key)];
		if (before === undefined || after === undefined) {
			wrong.add(`${key} is not there`);
			continue;
		}
		const { weight, delta } = await exactDelta(base, module, key, before);
		const got = decodeFloats(after.dtype, await after.read());
		const errors = new Errors();
		weight.forEach((w, i) => {
			errors.add(before.dtype, got[i], w + delta[i]);
			totals.all.add(before.dtype, got[i], w + delta[i]);
		});
		if (!(errors.steps <= 0.5)) wrong.add(`${key}: ${errors.steps} steps`);
	}
	checks.check(where, 'every weight is the nearest one to base + delta in float64', wrong.text);
	checks.check(
		where,
		'one stored tensor for each module',
		plan.touched.length === adapter.modules.length ? undefined : `${plan.touched.length}`,
	);
}

/** A module's base weight and its delta, as doubles. */
async function exactDelta(base, module, key, before) {
	const weight = decodeFloats(before.dtype, await before.read());
	const bias = tensorOf(base, key.replace(/weight$/, 'bias'));
	const options = needsBase(module)
		? { base: { weight, shape: before.shape, bias: bias === undefined ? undefined : decodeFloats(bias.dtype, await bias.read()) } }
		: { shape: before.shape };
	return { weight, delta: (await deltaOf(module, options)).weight.data };
}

async function compare({ checks, where, base, adapter, ours, reference, totals }) {
	const modules = new Map(adapter.modules.map((m) => [`${m.component}.${m.path}.weight`, m]));
	const errors = { ours: new Errors(), theirs: new Errors(), modules: 0 };
	const wrongs = { step: new Wrongs(), delta: new Wrongs(), stored: new Wrongs() };
	for (const [key, theirs] of reference.fused.tensors) {
		const module = modules.get(key);
		const mine = tensorOf(ours, key);
		const before = tensorOf(base, key);
		if (module === undefined || mine === undefined || before === undefined) {
			wrongs.step.add(`${key} is not there`);
			continue;
		}
		const { weight, delta } = await exactDelta(base, module, key, before);
		const stored = reference.deltas.tensors.get(key);
		const values = stored === undefined ? undefined : decodeFloats(stored.dtype, await stored.read());
		if (values !== undefined && worstAgainstF32(delta, values) > 0) wrongs.delta.add(key);
		const a = decodeFloats(mine.dtype, await mine.read());
		const b = decodeFloats(theirs.dtype, await theirs.read());
		const module64 = { ours: new Errors(), theirs: new Errors() };
		weight.forEach((w, i) => {
			const exact = w + delta[i];
			for (const set of [errors, totals, module64]) {
				set.ours.add(before.dtype, a[i], exact);
				set.theirs.add(before.dtype, b[i], exact);
			}
			// The recorded delta, not ours: it is float32, so its own rounding is added to the step.
			if (values === undefined) return;
			const recorded = w + values[i];
			if (!(Math.abs(a[i] - recorded) <= spacing(before.dtype, recorded) + Math.abs(values[i]) * 2 ** -23))
				wrongs.stored.add(`${key}[${i}]`);
		});
		if (!(module64.ours.steps <= 1)) wrongs.step.add(`${key}: ${module64.ours.steps} steps`);
		errors.modules++;
	}
	checks.check(where, 'the delta is the recorded one', wrongs.delta.text);
	checks.check(where, 'every element within one rounding step of float64', wrongs.step.text);
	checks.check(where, 'every element within one step of base + recorded delta', wrongs.stored.text);
	checks.check(
		where,
		'at least as near to float64 as the real tool, largest error',
		errors.ours.max <= errors.theirs.max ? undefined : `${errors.ours} against ${errors.theirs}`,
	);
	checks.check(
		where,
		'at least as near to float64 as the real tool, mean error',
		errors.ours.mean <= errors.theirs.mean ? undefined : `${errors.ours} against ${errors.theirs}`,
	);
	return errors;
}

function tensorOf(model, key) {
	const dot = key.indexOf('.');
	const file = model.files.find((f) => f.component === key.slice(0, dot));
	return file?.state.tensors.get(key.slice(dot + 1));
}

/** `verify` calls ours right, and says of the real tool's weights how large their error is. */
async function verifyBoth({ checks, where, base, use, plan, ours, fused }) {
	const report = await verifyFused(base, [use], ours);
	checks.check(where, 'verify calls ours right', report.ok ? undefined : `${report.cause}: ${report.why}`);
	const theirs = baseModel(
		base.files.map((file) => ({
			...file,
			state: {
				...file.state,
				tensors: new Map([...file.state.tensors].map(([name, t]) => [name, fused.tensors.get(`${file.component}.${name}`) ?? t])),
			},
		})),
		'folder',
		'theirs',
	);
	const other = await verifyFused(base, [use], theirs);
	const stored = other.modules.filter((m) => m.gain !== 0 || m.cause !== 'not-applied');
	const gain = stored.every((m) => !(Math.abs(m.gain - 1) > 1e-3));
	checks.check(
		where,
		'verify finds gain 1 in the real tool',
		gain ? undefined : `${stored.find((m) => Math.abs(m.gain - 1) > 1e-3)?.gain}`,
	);
	const missing = other.modules.filter((m) => m.cause === 'not-applied').length;
	const expected = plan.touched.length - fused.tensors.size;
	checks.check(
		where,
		'verify names the modules that were not stored as not applied',
		missing === expected ? undefined : `${missing} of ${expected}`,
	);
}

/**
 * `inference/merged`: some weights of adapter a at scale 1 as diffusers' fuse_lora leaves them, in float32 over the base's float16.
 *
 * @param {import('./checks.mjs').Checks} checks
 * @param {string} root the folder `inference/merged` (which need not exist) of a reference set
 */
export async function partMerged(checks, root) {
	const home = path.dirname(root);
	const manifest = JSON.parse(readFileSync(path.join(home, 'manifest.json'), 'utf8'));
	const [merged] = String(manifest.unet?.merged ?? '').split(' ');
	const adapterFile = manifest.unet?.lora?.a;
	if (merged === '' || merged === undefined || adapterFile === undefined) {
		console.log('inference/merged: this set has none');
		return;
	}
	const folder = path.join(home, '..', manifest.base.folder);
	const files = [];
	for (const [component, file] of [
		['unet', 'diffusion_pytorch_model.safetensors'],
		['text_encoder', 'model.safetensors'],
	]) {
		files.push({ path: `${component}/${file}`, component, state: await widened(await openFile(path.join(folder, component, file))) });
	}
	const single = await widened(await openFile(path.join(home, '..', manifest.base.single_file)));
	const input = await openInput(path.join(home, 'lora', adapterFile));
	const { decoded } = decodeWithHelp(input, { base: undefined, order: undefined });
	const use = { adapter: decoded.adapter, name: adapterFile, strength: FULL_STRENGTH };
	const theirs = await openFile(path.join(home, merged));
	const hashes = [];
	for (const base of [
		baseModel(files, 'folder', 'folder'),
		baseModel([{ path: 'base.safetensors', component: undefined, state: single }], 'file', 'single file'),
	]) {
		const where = `inference/merged ${base.name}`;
		const plan = await planFuse(base, [use]);
		const byModule = new Map();
		for (const touched of plan.touched) byModule.set(touched.modules.join(), sha256(await fusedTensor(touched).read()));
		hashes.push([...byModule].sort());
		const errors = { ours: new Errors(), theirs: new Errors() };
		for (const [key, tensor] of theirs.tensors) {
			if (!key.startsWith('merged_weight/')) continue;
			const module = decoded.adapter.modules.find((m) => key === `merged_weight/${m.component}.${m.path}`);
			const entry = plan.ledger.find((e) => e.component === module?.component && e.path === module?.path);
			const touched = plan.touched.find((t) => entry?.tensors[0] === `${t.file.path}:${t.name}`);
			if (module === undefined || touched === undefined) {
				// Weights that the adapter leaves alone are stored too, to show that they are.
				continue;
			}
			const weight = decodeFloats('F32', await touched.tensor.read());
			const delta = (await deltaOf(module, { shape: touched.tensor.shape })).weight.data;
			const a = decodeFloats('F32', await fusedTensor(touched).read());
			const b = decodeFloats(tensor.dtype, await tensor.read());
			weight.forEach((w, i) => {
				errors.ours.add('F32', a[i], w + delta[i]);
				errors.theirs.add('F32', b[i], w + delta[i]);
			});
		}
		checks.check(where, 'some merged weights are compared', errors.ours.count > 0 ? undefined : 'none');
		checks.check(where, 'every element within one rounding step', errors.ours.steps <= 1 ? undefined : `${errors.ours}`);
		checks.check(
			where,
			'at least as near to float64 as diffusers',
			errors.ours.max <= errors.theirs.max && errors.ours.mean <= errors.theirs.mean
				? undefined
				: `${errors.ours} against ${errors.theirs}`,
		);
		console.log(`${where}: ours ${errors.ours}; diffusers fuse_lora: ${errors.theirs}`);
	}
	checks.check(
		'inference/merged',
		`the single file's ${hashes[1].length} fused weights are those of the folder bit for bit`,
		same(hashes[0], hashes[1]) ? undefined : 'they differ',
	);
}

/** Every float tensor in float32, as the reference computes. */
async function widened(state) {
	const tensors = new Map();
	for (const [name, tensor] of state.tensors) {
		const float = tensor.dtype === 'F16' || tensor.dtype === 'BF16';
		const values = float ? Float32Array.from(decodeFloats(tensor.dtype, await tensor.read())) : undefined;
		tensors.set(name, values === undefined ? tensor : bytesTensor('F32', tensor.shape, new Uint8Array(values.buffer), name));
	}
	return { ...state, tensors };
}
