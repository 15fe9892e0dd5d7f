/** Where a module stands in its model: what pictures and tables are grouped by. */
export interface EnergyBlock {
	readonly component: string;
	/** `down 1.0`, `mid`, `up 3.2`, `layers 11`, `blocks 5`, `single 37`; the first word of a path for the rest. */
	readonly label: string;
	/** Order in the model: compare element by element. */
	readonly order: readonly number[];
}

const COMPONENTS: readonly string[] = ['unet', 'transformer', 'transformer_2', 'text_encoder', 'text_encoder_2', 'text_encoder_3'];

/** What comes before and behind the numbered blocks of a UNet or a transformer. */
const EDGES: readonly (readonly [prefix: string, order: number])[] = [
	['conv_in', 0],
	['time_', 1],
	['add_', 2],
	['class_', 2],
	['x_embedder', 0],
	['img_in', 0],
	['context_embedder', 1],
	['txt_in', 1],
	['embeddings', 0],
	['norm_out', 91],
	['conv_norm_out', 91],
	['final_layer', 92],
	['conv_out', 93],
	['proj_out', 93],
	['final_layer_norm', 93],
	['text_projection', 94],
];

/** Kinds of numbered blocks, in the order in which a model runs them. */
const KINDS: readonly string[] = [
	'double_blocks',
	'joint_blocks',
	'joint_transformer_blocks',
	'transformer_blocks',
	'blocks',
	'single_blocks',
	'single_transformer_blocks',
];

/** Kinds whose names are long: labels stand beside bars. */
const SHORT: ReadonlyMap<string, string> = new Map([
	['double_blocks', 'double'],
	['joint_blocks', 'joint'],
	['joint_transformer_blocks', 'joint'],
	['transformer_blocks', 'blocks'],
	['single_blocks', 'single'],
	['single_transformer_blocks', 'single'],
]);

/**
 * The block of a module. A UNet is cut as finely as block weights (LBW) cut it: `down 1.0` holds the first resnet and
 * the first attention of `down_blocks.1`, `down 1 sampler` what lies between it and the next. Everything else is cut
 * at the first number of the path.
 */
export function energyBlockOf(component: string, path: string): EnergyBlock {
	const at = COMPONENTS.indexOf(component);
	const first = at < 0 ? COMPONENTS.length : at;
	const unet = /^(down|up)_blocks\.(\d+)\.(?:(?:attentions|resnets)\.(\d+)|(downsamplers|upsamplers))/.exec(path);
	if (unet !== null) {
		const [, side = '', block = '', inner, sampler] = unet;
		const label = sampler === undefined ? `${side} ${block}.${inner}` : `${side} ${block} sampler`;
		return { component, label, order: [first, side === 'down' ? 10 : 30, Number(block), inner === undefined ? 1000 : Number(inner)] };
	}
	if (path.startsWith('mid_block')) return { component, label: 'mid', order: [first, 20, 0, 0] };
	const numbered = /^(?:.*?\.)?([^.]+)\.(\d+)(?:\.|$)/.exec(path);
	if (numbered !== null) {
		const [, kind = '', n = ''] = numbered;
		const rank = KINDS.indexOf(kind);
		return { component, label: `${SHORT.get(kind) ?? kind} ${n}`, order: [first, rank < 0 ? 40 : 40 + rank, Number(n), 0] };
	}
	const words = path.split('.');
	const word = words.find((w) => EDGES.some(([prefix]) => w.startsWith(prefix))) ?? words[0] ?? path;
	const edge = EDGES.find(([prefix]) => word.startsWith(prefix));
	return { component, label: word.length > 40 ? `${word.slice(0, 37)}...` : word, order: [first, edge?.[1] ?? 80, 0, 0] };
}

/** Order of two blocks in their model; equal places by name. */
export function compareBlocks(a: EnergyBlock, b: EnergyBlock): number {
	for (let i = 0; i < 4; i++) {
		const d = (a.order[i] ?? 0) - (b.order[i] ?? 0);
		if (d !== 0) return d;
	}
	if (a.component !== b.component) return a.component < b.component ? -1 : 1;
	return a.label < b.label ? -1 : a.label > b.label ? 1 : 0;
}
