import { same, sha256, Wrongs } from './checks.mjs';
import { matchesF32Sha, statistics } from './deltas.mjs';

/** How the digests spell dtypes (torch's names). */
export const DTYPES = new Map([
	['float16', 'F16'],
	['bfloat16', 'BF16'],
	['float32', 'F32'],
	['float64', 'F64'],
	['float8_e4m3fn', 'F8_E4M3'],
	['float8_e5m2', 'F8_E5M2'],
]);

const INTEGER_ROLES = new Set(['on_input', 'bias_indices', 'bias_size', 'reshape_weight']);
/** Digest word for a family -> ours. `dora` is a LoRA with a magnitude. */
const FAMILIES = new Map([
	['lora', ['lora', 'locon']],
	['locon', ['locon', 'lora']],
	['dora', ['lora', 'locon', 'loha', 'lokr']],
]);
/** Fields of a module that are checked below, or are no claim about the file. */
const KNOWN = new Set([
	'component',
	'module',
	'kind',
	'shape',
	'rank',
	'alpha',
	'scaling',
	'algo',
	'dtype',
	'leaves',
	'index',
	'key',
	'magnitude_shape',
	'rslora',
	'idx',
	'values',
	'absmax',
	'fro',
	'delta_f32_sha256',
	'stored',
	'note',
	'notes',
]);
/** Factor fields by another name than our role. */
const ROLE_OF = new Map([
	['dora_scale', 'magnitude'],
	['lora_magnitude_vector', 'magnitude'],
	['lora_down', 'down'],
	['lora_up', 'up'],
	['lora_mid', 'mid'],
	['lora_A', 'down'],
	['lora_B', 'up'],
]);

/** True when `key` stands in `name` and no letter or digit goes on after it. */
function endsAtBoundary(name, key) {
	const at = name.indexOf(key);
	return at >= 0 && !/\w/.test(name[at + key.length] ?? '');
}

/** Leaf names as digests list them, from our roles. */
function leavesOf(module) {
	return Object.keys(module.factors)
		.map((role) => (role === 'magnitude' ? 'dora_scale' : role))
		.sort();
}

/** Every claim about one module's factors. @returns {Promise<Map<string, string | undefined>>} check -> what is wrong */
export async function checkModule(want, module, isList) {
	const out = new Map();
	const say = (name, holds, found) => out.set(name, holds ? undefined : found);
	const { factors } = module;
	const families = FAMILIES.get(want.algo) ?? [want.algo];
	say(
		'family',
		families.includes(module.family) && (want.algo !== 'dora' || factors.magnitude !== undefined),
		`${module.family} instead of ${want.algo}`,
	);
	const wholeLokr = module.family === 'lokr' && factors.lokr_w1 !== undefined && factors.lokr_w2 !== undefined;
	// PEFT's configuration names a rank even where both LoKr factors are whole; the tensors then have none.
	const rankHolds =
		(module.rank ?? null) === want.rank || (wholeLokr && module.rank === undefined && want.scaling === want.alpha / want.rank);
	say('rank', rankHolds, `${module.rank} instead of ${want.rank}`);
	say('alpha', module.alpha === want.alpha, `${module.alpha} instead of ${want.alpha}`);
	say('scaling', module.scaling === want.scaling, `${module.scaling} instead of ${want.scaling}`);
	if (want.rslora === true) say('rule', module.rule === 'alpha/sqrt(rank)', module.rule);
	const dtypes = new Set(
		Object.entries(factors)
			.filter(([role]) => !INTEGER_ROLES.has(role))
			.map(([, t]) => t.dtype),
	);
	say('dtype', same([...dtypes], [DTYPES.get(want.dtype)]), `${[...dtypes]} instead of ${want.dtype}`);
	if (want.leaves !== undefined)
		say('leaves', same(leavesOf(module), [...want.leaves].sort()), `${leavesOf(module)} instead of ${want.leaves}`);
	if (want.magnitude_shape !== undefined)
		say(
			'magnitude shape',
			same(factors.magnitude?.shape, want.magnitude_shape),
			`(${factors.magnitude?.shape}) instead of (${want.magnitude_shape})`,
		);
	for (const [field, value] of Object.entries(want)) {
		if (typeof value !== 'object' || value === null || value.sha256 === undefined) {
			if (!KNOWN.has(field)) out.set(`field ${field}`, 'the digest has a field that no check here knows');
			continue;
		}
		const tensor = factors[ROLE_OF.get(field) ?? field];
		if (tensor === undefined) say(`factor ${field}`, false, 'it is not there');
		else {
			say(`factor ${field} shape`, same(tensor.shape, value.shape), `(${tensor.shape}) instead of (${value.shape})`);
			const hash = sha256(await tensor.read());
			say(`factor ${field} bits`, hash === value.sha256, `sha256 ${hash.slice(0, 12)} instead of ${value.sha256.slice(0, 12)}`);
		}
	}
	// A companion's tensors are called `file:name`.
	const origins = Object.values(factors).map((t) => (t.origin ?? '').replace(/^.*\.pt:/, ''));
	if (want.key !== undefined) {
		// The digests put the component before PEFT's names, which the file itself does not say.
		const spellings = [want.key, want.key.slice(want.component.length + 1)];
		const holds = origins.some((o) => spellings.some((key) => endsAtBoundary(o, key)));
		say('key', holds, `${origins} instead of ${want.key}`);
	}
	if (want.index !== undefined && isList) {
		const wanted = [`${2 * want.index}`, `${2 * want.index + 1}`];
		say(
			'index',
			same(
				[...origins].sort((a, b) => a - b),
				wanted,
			),
			`places ${origins} instead of ${wanted}`,
		);
	}
	return out;
}

/** Every claim about one module's delta. @returns {Map<string, string | undefined>} */
export function checkDelta(want, delta) {
	const out = new Map();
	const { shape, data } = delta.weight;
	out.set('delta shape', same(shape, want.shape) ? undefined : `(${shape}) instead of (${want.shape})`);
	const wrongs = new Wrongs();
	const found = statistics(data);
	want.idx.forEach((at, i) => {
		const error = Math.abs((data[at] ?? Number.NaN) - want.values[i]) / want.absmax;
		if (!(error <= 1e-12)) wrongs.add(`element ${at} is ${data[at]} instead of ${want.values[i]}`);
	});
	if (want.idx.length !== want.values.length) wrongs.add('the digest has more places than values');
	out.set('sampled values within 1e-12', wrongs.text);
	for (const name of ['absmax', 'fro']) {
		const error = Math.abs(found[name] - want[name]);
		out.set(name, error <= 1e-12 * Math.abs(want[name]) ? undefined : `${found[name]} instead of ${want[name]}`);
	}
	if (want.delta_f32_sha256 !== undefined) {
		out.set(
			'sha256 of the delta in float32',
			matchesF32Sha(data, want.delta_f32_sha256) ? undefined : `not ${want.delta_f32_sha256.slice(0, 12)}`,
		);
	}
	return out;
}

/** The delta of a flat factor has no kernel in its shape; the base's module does. Only the shape, never the order, is set. */
export function shapeToAsk(want, module) {
	const { factors } = module;
	const carrier =
		factors.mid ?? factors.hada_t1 ?? factors.lokr_t2 ?? factors.lokr_w2 ?? factors.lokr_w2_b ?? factors.hada_w1_b ?? factors.down;
	return want.shape.length > 2 && (carrier?.shape.length ?? 0) <= 2 ? want.shape : undefined;
}
