// Realistic ways to be wrong, each as one change to the rule W += k D, k = s alpha / rank.
// The first 23, but for a variant with `codes`, are those of the reference recordings (their README has the same formulas).

const text = (m) => m.component.startsWith('text_encoder');
const conv = (m) => m.shape.length === 4;
const wide = (m) => conv(m) && m.shape[2] * m.shape[3] > 1;
const rank = (m) => m.rank ?? 1;
const alpha = (m) => m.alpha ?? rank(m);
const scalar = (k) => ({ k });
const dropped = (gone) => ({ k: (m, s) => (gone(m) ? 0 : s * m.scaling) });

function transposed({ D, shape: [n, c] }) {
	const out = new Float64Array(D.length);
	for (let i = 0; i < n; i++) for (let j = 0; j < c; j++) out[j * n + i] = D[i * c + j];
	return out;
}

function flipped({ D, shape }) {
	const size = shape[2] * shape[3];
	return D.map((_, i) => D[i - (i % size) + (size - 1 - (i % size))]);
}

function exchanged(m, all) {
	const name = m.path.endsWith('to_k')
		? m.path.replace(/to_k$/, 'to_v')
		: m.path.endsWith('to_v')
			? m.path.replace(/to_v$/, 'to_k')
			: m.path;
	const other = text(m) ? undefined : all.find((o) => o.component === m.component && o.path === name);
	return other !== undefined && other.D.length === m.D.length ? other.D : m.D;
}

/** Modules in alphabetical order are given the deltas in file order, shape by shape: a list without names, wrongly sorted. */
function shuffled(m, all) {
	const same = all.filter((o) => o.component === m.component && o.shape.join() === m.shape.join());
	return same[(same.indexOf(m) + 1) % same.length].D;
}

/** name -> { k?(module, strength, modules), D?(module, modules), codes?: names that are as right, lifecycle? } */
export const FAULTS = new Map(
	Object.entries({
		'alpha-ignored': scalar((m, s) => (m.rank === undefined ? s * m.scaling : s)),
		'alpha-not-divided-by-rank': scalar((m, s) => (m.alpha === null ? s * m.scaling : s * m.alpha)),
		'rank-of-first-module-for-all': scalar((m, s, all) => (s * alpha(m)) / rank(all[0])),
		'alpha-of-first-module-for-all': scalar((m, s, all) => (s * alpha(all[0])) / rank(m)),
		'alpha-over-rank-squared': scalar((m, s) => s * (alpha(m) / rank(m)) ** 2),
		'rank-over-alpha': scalar((m, s) => (s * rank(m)) / alpha(m)),
		'user-scale-squared': scalar((m, s) => s * s * m.scaling),
		// sd-scripts' merge of adapters: both factors by s, one of them without its sign.
		'user-scale-squared-signed': { ...scalar((m, s) => s * Math.abs(s) * m.scaling), codes: ['user-scale-squared'] },
		'user-scale-ignored': scalar((m, s) => (s === 0 ? 0 : m.scaling)),
		'applied-twice': scalar((m, s) => 2 * s * m.scaling),
		'sign-flipped': scalar((m, s) => -s * m.scaling),
		'up-down-swapped-on-square': { D: (m) => (m.shape.length === 2 && m.shape[0] === m.shape[1] ? transposed(m) : m.D) },
		'delta-column-major': { D: (m) => (m.shape.length === 2 ? transposed(m) : m.D) },
		'text-encoder-dropped': dropped(text),
		'unet-dropped': dropped((m) => !text(m)),
		'block-dropped': dropped((m) => m.path.startsWith('up_blocks.1.')),
		'mid-block-dropped': dropped((m) => m.path.startsWith('mid_block.')),
		'conv-ignored': dropped(conv),
		'conv3x3-ignored': dropped(wide),
		'conv-kernel-flipped': { D: (m) => (wide(m) ? flipped(m) : m.D) },
		'to-out-dropped': dropped((m) => m.path.includes('to_out.0')),
		'cross-attention-only': dropped((m) => !text(m) && !m.path.includes('attn2')),
		'k-and-v-exchanged': { D: exchanged },
		'ff-dropped': dropped((m) => /\.(ff|mlp)\./.test(m.path)),
		rslora: scalar((m, s) => (s * alpha(m)) / Math.sqrt(rank(m))),
		'missing-alpha-as-one': scalar((m, s) => (m.alpha === null && m.rule === 'one' ? s / rank(m) : s * m.scaling)),
		'module-order': { D: shuffled },
		'adapter-not-applied': scalar(() => 0),
		'bf16-rounding': { rounding: 'bf16' },
		'f16-rounding': { rounding: 'f16' },
		'unload-by-subtraction': { lifecycle: 'subtract', precision: 'bf16' },
		'unload-ignored': { lifecycle: 'keep' },
		'strength-not-updated': { lifecycle: 'first-strength' },
		'strength-added': { lifecycle: 'add-strength' },
		'swap-keeps-old': { lifecycle: 'swap-adds' },
		'last-adapter-only': { lifecycle: 'last' },
		'negative-strength': scalar((m, s) => Math.max(0, s) * m.scaling),
		'component-strength-ignored': { strength: (s) => (typeof s === 'object' ? (s.unet ?? 1) : s) },
	}),
);
