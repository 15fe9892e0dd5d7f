import { FormatError, quote } from '@lorakit/format';
import { type Base, createGraphBuilder, type FormOf, type Graph, type RankOf, recordTextEncoder, recordUNet } from '@lorakit/runtime';

/** A layer that can take factors. */
export interface ModuleShape {
	readonly component: string;
	/** Dotted path in diffusers' names. */
	readonly path: string;
	/** (r, in[, kh, kw]) with r left out: (in[, kh, kw]). */
	readonly inner: readonly number[];
	readonly out: number;
}

/** A layer that is trained. */
export interface TargetModule extends ModuleShape {
	readonly rank: number;
	readonly alpha: number;
	/** alpha / rank, or alpha / sqrt(rank) for rank-stabilised LoRA (Kalajdzievski, arXiv 2312.03732). */
	readonly scaling: number;
	readonly dora: boolean;
}

/** Layers that are trained, by the names that people give them. */
export type TargetPreset = 'attention' | 'attention+ff' | 'conv';

const ATTENTION = /\.attn[12]\.(?:to_q|to_k|to_v|to_out\.0)$/;
const FEED_FORWARD = /\.ff\.net\.(?:0\.proj|2)$/;
/** LoCon's (KohakuBlueleaf/LyCORIS): convolutions of resnets and samplers, projections of transformers. */
const CONVOLUTIONS = /\.(?:conv1|conv2|conv_shortcut|(?:down|up)samplers\.0\.conv|proj_in|proj_out)$/;

export const TARGET_PRESETS: Readonly<Record<TargetPreset, readonly RegExp[]>> = {
	attention: [ATTENTION],
	'attention+ff': [ATTENTION, FEED_FORWARD],
	conv: [ATTENTION, FEED_FORWARD, CONVOLUTIONS],
};

/** Text encoders: attention as diffusers' and PEFT's scripts have it, and the MLP as kohya's. */
export type TextTargetPreset = 'attention' | 'attention+mlp';

export const TEXT_TARGET_PRESETS: Readonly<Record<TextTargetPreset, readonly RegExp[]>> = {
	attention: [/\.self_attn\.(?:q_proj|k_proj|v_proj|out_proj)$/],
	'attention+mlp': [/\.self_attn\.(?:q_proj|k_proj|v_proj|out_proj)$/, /\.mlp\.fc[12]$/],
};

/** Another rank or alpha for some modules. */
export interface RankPattern {
	/** Part of `component.path`; `*` stands for anything. The last pattern that fits holds. */
	readonly pattern: string;
	readonly rank?: number | undefined;
	readonly alpha?: number | undefined;
}

export interface TargetOptions {
	readonly rank: number;
	/** Default: the rank. */
	readonly alpha?: number | undefined;
	readonly unet?: TargetPreset | undefined;
	readonly textEncoder?: TextTargetPreset | undefined;
	/** More modules: patterns of `component.path`. */
	readonly include?: readonly string[] | undefined;
	/** Not these. */
	readonly exclude?: readonly string[] | undefined;
	readonly patterns?: readonly RankPattern[] | undefined;
	readonly rankStabilised?: boolean | undefined;
	readonly dora?: boolean | undefined;
}

/** All layers of a base's UNet and text encoders that can take factors. */
export function modulesOf(base: Pick<Base, 'unet' | 'textEncoders'>): readonly ModuleShape[] {
	const modules: ModuleShape[] = [];
	for (const config of base.textEncoders) {
		const ops = createGraphBuilder();
		recordTextEncoder(ops, config.component, config, { batch: 1, tokens: 1 });
		modules.push(...modulesIn(ops.graph()));
	}
	const ops = createGraphBuilder();
	const down = 2 ** (base.unet.blockOutChannels.length - 1);
	recordUNet(ops, base.unet, { batch: 1, height: down, width: down, tokens: 1 });
	return [...modules, ...modulesIn(ops.graph())];
}

function modulesIn(graph: Graph): readonly ModuleShape[] {
	const shapeOf = new Map(graph.inputs.map(({ name, value }) => [name, graph.values[value]?.shape ?? []]));
	return [...shapeOf].flatMap(([name, shape]) => {
		if (!name.endsWith(':down')) return [];
		const full = name.slice(0, -':down'.length);
		const dot = full.indexOf('.');
		const up = shapeOf.get(`${full}:up`) ?? [];
		return [{ component: full.slice(0, dot), path: full.slice(dot + 1), inner: shape.slice(1).map(Number), out: Number(up[0]) }];
	});
}

/**
 * The modules that are trained, in the order in which the model runs them.
 * @throws {FormatError} `E_CONFIG` when a pattern fits no module, or nothing is trained
 */
export function targetModules(modules: readonly ModuleShape[], options: TargetOptions): readonly TargetModule[] {
	const { rank, unet, textEncoder, include = [], exclude = [], patterns = [] } = options;
	for (const pattern of [...include, ...exclude, ...patterns.map((p) => p.pattern)]) {
		if (modules.some((m) => fits(pattern, m))) continue;
		throw new FormatError(
			'E_CONFIG',
			`The target pattern ${quote(pattern)} fits no module of the base; patterns are parts of names such as "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q".`,
		);
	}
	const chosen = modules.filter((m) => {
		const preset = m.component === 'unet' ? unet && TARGET_PRESETS[unet] : textEncoder && TEXT_TARGET_PRESETS[textEncoder];
		const wanted = (preset ?? []).some((expression) => expression.test(`.${m.path}`)) || include.some((p) => fits(p, m));
		return wanted && !exclude.some((p) => fits(p, m));
	});
	return chosen.map((m): TargetModule => {
		const own = patterns.filter((p) => fits(p.pattern, m));
		const r = own.findLast((p) => p.rank !== undefined)?.rank ?? rank;
		const alpha = own.findLast((p) => p.alpha !== undefined)?.alpha ?? options.alpha ?? r;
		const scaling = options.rankStabilised === true ? alpha / Math.sqrt(r) : alpha / r;
		return { ...m, rank: r, alpha, scaling, dora: options.dora === true };
	});
}

/** How a graph is recorded that trains these modules, and nothing else. */
export function moduleForms(modules: readonly TargetModule[]): { readonly forms: FormOf; readonly ranks: RankOf } {
	const byName = new Map(modules.map((m) => [`${m.component} ${m.path}`, m]));
	return {
		forms(component, path) {
			const module = byName.get(`${component} ${path}`);
			return module === undefined ? 'plain' : module.dora ? 'dora' : 'low-rank';
		},
		ranks: (component, path) => byName.get(`${component} ${path}`)?.rank,
	};
}

/** Every part of the pattern in its order, the first place of each: the same answer as trying all places, in one pass. */
function fits(pattern: string, { component, path }: ModuleShape): boolean {
	const name = `${component}.${path}`;
	let at = 0;
	for (const part of pattern.split('*')) {
		const found = name.indexOf(part, at);
		if (found < 0) return false;
		at = found + part.length;
	}
	return true;
}
