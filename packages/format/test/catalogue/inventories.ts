/** One module of a base, from the published configurations: written here apart from `src/modules`, so that it can judge it. */
export interface Mod {
	/** diffusers' (transformers') path. */
	readonly path: string;
	/** LDM's or the model's own path; '' where there is none. */
	readonly own: string;
	readonly out: number;
	readonly in: number;
	/** Kernel of a convolution; 0 for Linear. */
	readonly k: number;
	readonly group: 'attn' | 'geglu' | 'ff2' | 'proj' | 'resnet' | 'sample' | 'outer' | 'mlp' | 'mod' | 'norm';
}

interface UnetShape {
	readonly levels: readonly number[];
	readonly depth: readonly number[];
	readonly ctx: number;
	readonly linear: boolean;
	readonly add: number;
}

const UNETS: Readonly<Record<'sd1' | 'sd2' | 'sdxl', UnetShape>> = {
	sd1: { levels: [320, 640, 1280, 1280], depth: [1, 1, 1, 0], ctx: 768, linear: false, add: 0 },
	sd2: { levels: [320, 640, 1280, 1280], depth: [1, 1, 1, 0], ctx: 1024, linear: true, add: 0 },
	sdxl: { levels: [320, 640, 1280], depth: [0, 2, 10], ctx: 2048, linear: true, add: 2816 },
};

/** Every Linear and Conv2d of a UNet; within a transformer block attn1, attn2, ff; blocks down, up, mid. */
export function unet(base: 'sd1' | 'sd2' | 'sdxl'): Mod[] {
	const s = UNETS[base];
	const out: Mod[] = [];
	const put = (path: string, own: string, o: number, i: number, k: number, group: Mod['group']): void => {
		out.push({ path, own, out: o, in: i, k, group });
	};
	const temb = 4 * (s.levels[0] ?? 0);
	const attention = (path: string, own: string, c: number, depth: number): void => {
		const k = s.linear ? 0 : 1;
		put(`${path}.proj_in`, `${own}.proj_in`, c, c, k, 'proj');
		for (let d = 0; d < depth; d++) {
			for (const attn of ['attn1', 'attn2'] as const) {
				const ctx = attn === 'attn1' ? c : s.ctx;
				for (const [leaf, i] of [
					['to_q', c],
					['to_k', ctx],
					['to_v', ctx],
					['to_out.0', c],
				] as const) {
					const rest = `transformer_blocks.${d}.${attn}.${leaf}`;
					put(`${path}.${rest}`, `${own}.${rest}`, c, i, 0, 'attn');
				}
			}
			put(`${path}.transformer_blocks.${d}.ff.net.0.proj`, `${own}.transformer_blocks.${d}.ff.net.0.proj`, 8 * c, c, 0, 'geglu');
			put(`${path}.transformer_blocks.${d}.ff.net.2`, `${own}.transformer_blocks.${d}.ff.net.2`, c, 4 * c, 0, 'ff2');
		}
		put(`${path}.proj_out`, `${own}.proj_out`, c, c, k, 'proj');
	};
	const resnet = (path: string, own: string, o: number, i: number): void => {
		put(`${path}.conv1`, `${own}.in_layers.2`, o, i, 3, 'resnet');
		put(`${path}.time_emb_proj`, `${own}.emb_layers.1`, o, temb, 0, 'resnet');
		put(`${path}.conv2`, `${own}.out_layers.3`, o, o, 3, 'resnet');
		if (o !== i) put(`${path}.conv_shortcut`, `${own}.skip_connection`, o, i, 1, 'resnet');
	};
	put('conv_in', 'input_blocks.0.0', 320, 4, 3, 'outer');
	put('time_embedding.linear_1', 'time_embed.0', temb, 320, 0, 'outer');
	put('time_embedding.linear_2', 'time_embed.2', temb, temb, 0, 'outer');
	if (s.add > 0) {
		put('add_embedding.linear_1', 'label_emb.0.0', temb, s.add, 0, 'outer');
		put('add_embedding.linear_2', 'label_emb.0.2', temb, temb, 0, 'outer');
	}
	const last = s.levels.length - 1;
	for (const [i, c] of s.levels.entries()) {
		const depth = s.depth[i] ?? 0;
		for (let j = 0; depth > 0 && j < 2; j++) attention(`down_blocks.${i}.attentions.${j}`, `input_blocks.${3 * i + j + 1}.1`, c, depth);
		for (let j = 0; j < 2; j++) {
			const before = j === 0 ? (s.levels[Math.max(0, i - 1)] ?? c) : c;
			resnet(`down_blocks.${i}.resnets.${j}`, `input_blocks.${3 * i + j + 1}.0`, c, before);
		}
		if (i < last) put(`down_blocks.${i}.downsamplers.0.conv`, `input_blocks.${3 * i + 3}.0.op`, c, c, 3, 'sample');
	}
	for (let i = 0; i <= last; i++) {
		const level = last - i;
		const c = s.levels[level] ?? 0;
		const depth = s.depth[level] ?? 0;
		for (let j = 0; depth > 0 && j < 3; j++) attention(`up_blocks.${i}.attentions.${j}`, `output_blocks.${3 * i + j}.1`, c, depth);
		for (let j = 0; j < 3; j++) {
			const below = j === 0 ? (s.levels[Math.min(last, level + 1)] ?? c) : c;
			const skip = j === 2 ? (s.levels[Math.max(0, level - 1)] ?? c) : c;
			resnet(`up_blocks.${i}.resnets.${j}`, `output_blocks.${3 * i + j}.0`, c, below + skip);
		}
		if (i < last) put(`up_blocks.${i}.upsamplers.0.conv`, `output_blocks.${3 * i + 2}.${depth > 0 ? 2 : 1}.conv`, c, c, 3, 'sample');
	}
	attention('mid_block.attentions.0', 'middle_block.1', s.levels[last] ?? 0, s.depth[last] === 0 ? 1 : (s.depth[last] ?? 1));
	for (const j of [0, 1]) resnet(`mid_block.resnets.${j}`, `middle_block.${2 * j}`, s.levels[last] ?? 0, s.levels[last] ?? 0);
	put('conv_out', 'out.2', 4, 320, 3, 'outer');
	return out;
}

/** CLIP's Linear modules in kohya's set (CLIPAttention, CLIPMLP). */
export function clip(layers: number, width: number): Mod[] {
	const out: Mod[] = [];
	for (let n = 0; n < layers; n++) {
		const layer = `text_model.encoder.layers.${n}`;
		for (const leaf of ['k_proj', 'v_proj', 'q_proj', 'out_proj'])
			out.push({ path: `${layer}.self_attn.${leaf}`, own: '', out: width, in: width, k: 0, group: 'attn' });
		out.push({ path: `${layer}.mlp.fc1`, own: '', out: 4 * width, in: width, k: 0, group: 'mlp' });
		out.push({ path: `${layer}.mlp.fc2`, own: '', out: width, in: 4 * width, k: 0, group: 'mlp' });
	}
	return out;
}

/** T5's encoder. */
export function t5(layers: number, width: number, ff: number): Mod[] {
	return Array.from({ length: layers }, (_, n) => `encoder.block.${n}.layer`).flatMap((block) => [
		...['q', 'k', 'v', 'o'].map((leaf) => linear(`${block}.0.SelfAttention.${leaf}`, width, width)),
		linear(`${block}.1.DenseReluDense.wi_0`, ff, width),
		linear(`${block}.1.DenseReluDense.wi_1`, ff, width),
		linear(`${block}.1.DenseReluDense.wo`, width, ff),
	]);
}

/** A Linear whose one name is `path`. */
export function linear(path: string, out: number, inn: number, group: Mod['group'] = 'attn'): Mod {
	return { path, own: path, out, in: inn, k: 0, group };
}

/** Templates with `#` over `n` blocks. */
export function blocks(n: number, rows: readonly (readonly [path: string, out: number, inn: number])[]): Mod[] {
	return Array.from({ length: n }, (_, i) => i).flatMap((i) =>
		rows.map(([path, out, inn]) => linear(path.replace('#', String(i)), out, inn)),
	);
}

/** Flux.1 in BFL's names: 19 double, 38 single blocks. */
export function fluxBfl(h = 3072, double = 19, single = 38): Mod[] {
	return [
		...blocks(
			double,
			['img', 'txt'].flatMap((s): [string, number, number][] => [
				[`double_blocks.#.${s}_attn.qkv`, 3 * h, h],
				[`double_blocks.#.${s}_attn.proj`, h, h],
				[`double_blocks.#.${s}_mlp.0`, 4 * h, h],
				[`double_blocks.#.${s}_mlp.2`, h, 4 * h],
				[`double_blocks.#.${s}_mod.lin`, 6 * h, h],
			]),
		),
		...blocks(single, [
			['single_blocks.#.linear1', 7 * h, h],
			['single_blocks.#.linear2', h, 5 * h],
			['single_blocks.#.modulation.lin', 3 * h, h],
		]),
	];
}

/** What else of Flux.1 kohya trains under `in_dims`, and the final layer. */
export function fluxOuter(): Mod[] {
	return [
		linear('img_in', 3072, 64),
		linear('txt_in', 3072, 4096),
		...(['time_in', 'vector_in', 'guidance_in'] as const).flatMap((p) => [
			linear(`${p}.in_layer`, 3072, p === 'vector_in' ? 768 : 256),
			linear(`${p}.out_layer`, 3072, 3072),
		]),
		linear('final_layer.linear', 64, 3072),
		linear('final_layer.adaLN_modulation.1', 6144, 3072),
	];
}

/** Flux.1 in diffusers' names. */
export function fluxDiffusers(h = 3072, double = 19, single = 38): Mod[] {
	return [
		...blocks(double, [
			...['to_q', 'to_k', 'to_v', 'to_out.0', 'add_q_proj', 'add_k_proj', 'add_v_proj', 'to_add_out'].map(
				(leaf): [string, number, number] => [`transformer_blocks.#.attn.${leaf}`, h, h],
			),
			['transformer_blocks.#.ff.net.0.proj', 4 * h, h],
			['transformer_blocks.#.ff.net.2', h, 4 * h],
			['transformer_blocks.#.ff_context.net.0.proj', 4 * h, h],
			['transformer_blocks.#.ff_context.net.2', h, 4 * h],
			['transformer_blocks.#.norm1.linear', 6 * h, h],
			['transformer_blocks.#.norm1_context.linear', 6 * h, h],
		]),
		...blocks(single, [
			...['to_q', 'to_k', 'to_v'].map((leaf): [string, number, number] => [`single_transformer_blocks.#.attn.${leaf}`, h, h]),
			['single_transformer_blocks.#.proj_mlp', 4 * h, h],
			['single_transformer_blocks.#.proj_out', h, 5 * h],
			['single_transformer_blocks.#.norm.linear', 3 * h, h],
		]),
	];
}

/** SD3 medium in Stability's names: 24 joint blocks, the last without context output. */
export function sd3Sai(h = 1536, n = 24): Mod[] {
	return blocks(n, [
		...['x_block', 'context_block'].flatMap((b): [string, number, number][] => [
			[`joint_blocks.#.${b}.attn.qkv`, 3 * h, h],
			[`joint_blocks.#.${b}.attn.proj`, h, h],
			[`joint_blocks.#.${b}.mlp.fc1`, 4 * h, h],
			[`joint_blocks.#.${b}.mlp.fc2`, h, 4 * h],
			[`joint_blocks.#.${b}.adaLN_modulation.1`, 6 * h, h],
		]),
	])
		.filter((m) => !new RegExp(`^joint_blocks\\.${n - 1}\\.context_block\\.(attn\\.proj|mlp)`).test(m.path))
		.map((m) => (m.path === `joint_blocks.${n - 1}.context_block.adaLN_modulation.1` ? { ...m, out: 2 * h } : m));
}

/** SD3 in diffusers' names, attention alone. */
export function sd3Diffusers(h = 1536, n = 24): Mod[] {
	return blocks(
		n,
		['to_q', 'to_k', 'to_v', 'to_out.0', 'add_q_proj', 'add_k_proj', 'add_v_proj', 'to_add_out'].map((leaf): [string, number, number] => [
			`transformer_blocks.#.attn.${leaf}`,
			h,
			h,
		]),
	).filter((m) => m.path !== `transformer_blocks.${n - 1}.attn.to_add_out`);
}

/** Wan 2.1 14B in its own names. */
export function wan(h = 5120, ff = 13824, n = 40, image = false): Mod[] {
	return blocks(n, [
		...['self_attn', 'cross_attn'].flatMap((a) =>
			['q', 'k', 'v', 'o'].map((leaf): [string, number, number] => [`blocks.#.${a}.${leaf}`, h, h]),
		),
		...(image ? ['k_img', 'v_img'].map((leaf): [string, number, number] => [`blocks.#.cross_attn.${leaf}`, h, h]) : []),
		['blocks.#.ffn.0', ff, h],
		['blocks.#.ffn.2', h, ff],
	]);
}

/** Wan in diffusers' names. */
export function wanDiffusers(h = 5120, ff = 13824, n = 40): Mod[] {
	return blocks(n, [
		...['attn1', 'attn2'].flatMap((a) =>
			['to_q', 'to_k', 'to_v', 'to_out.0'].map((leaf): [string, number, number] => [`blocks.#.${a}.${leaf}`, h, h]),
		),
		['blocks.#.ffn.net.0.proj', ff, h],
		['blocks.#.ffn.net.2', h, ff],
	]);
}

/** Qwen-Image: 60 blocks. */
export function qwenImage(h = 3072, n = 60): Mod[] {
	return blocks(n, [
		...['to_q', 'to_k', 'to_v', 'to_out.0', 'add_q_proj', 'add_k_proj', 'add_v_proj', 'to_add_out'].map(
			(leaf): [string, number, number] => [`transformer_blocks.#.attn.${leaf}`, h, h],
		),
		...['img', 'txt'].flatMap((s): [string, number, number][] => [
			[`transformer_blocks.#.${s}_mlp.net.0.proj`, 4 * h, h],
			[`transformer_blocks.#.${s}_mlp.net.2`, h, 4 * h],
			[`transformer_blocks.#.${s}_mod.1`, 6 * h, h],
		]),
	]);
}

/** HunyuanVideo in its own names: 20 double, 40 single blocks. */
export function hunyuanVideo(h = 3072): Mod[] {
	return [
		...blocks(
			20,
			['img', 'txt'].flatMap((s): [string, number, number][] => [
				[`double_blocks.#.${s}_attn_qkv`, 3 * h, h],
				[`double_blocks.#.${s}_attn_proj`, h, h],
				[`double_blocks.#.${s}_mlp.fc1`, 4 * h, h],
				[`double_blocks.#.${s}_mlp.fc2`, h, 4 * h],
				[`double_blocks.#.${s}_mod.linear`, 6 * h, h],
			]),
		),
		...blocks(40, [
			['single_blocks.#.linear1', 7 * h, h],
			['single_blocks.#.linear2', h, 5 * h],
			['single_blocks.#.modulation.linear', 3 * h, h],
		]),
	];
}

/** Z-Image: 30 layers of width 3840. */
export function zImage(fused: boolean, h = 3840, n = 30): Mod[] {
	const attention: [string, number, number][] = fused
		? [
				['attention.qkv', 3 * h, h],
				['attention.out', h, h],
			]
		: ['to_q', 'to_k', 'to_v', 'to_out.0'].map((leaf) => [`attention.${leaf}`, h, h]);
	return blocks(n, [
		...attention.map(([p, o, i]): [string, number, number] => [`layers.#.${p}`, o, i]),
		['layers.#.feed_forward.w1', 10240, h],
		['layers.#.feed_forward.w2', h, 10240],
		['layers.#.feed_forward.w3', 10240, h],
		['layers.#.adaLN_modulation.0', 4 * h, 256],
	]);
}

/** A decoder language model. */
export function llm(n = 4, h = 256): Mod[] {
	return blocks(n, [
		...['q_proj', 'k_proj', 'v_proj', 'o_proj'].map((leaf): [string, number, number] => [`model.layers.#.self_attn.${leaf}`, h, h]),
		['model.layers.#.mlp.gate_proj', 2 * h, h],
		['model.layers.#.mlp.up_proj', 2 * h, h],
		['model.layers.#.mlp.down_proj', h, 2 * h],
	]);
}
