import { FormatError } from '@lorakit/format';
import type { UnetConfig } from '../base/unet-config.js';
import type { Value } from '../graph/index.js';
import { reshape, scaleBy, sizeOf, slice, sum } from '../graph/ops.js';
import { countOf, f32Tensor, type HostTensor } from '../host-tensor.js';
import type { AttentionCall } from '../models/attention.js';
import type { Net } from '../models/net.js';
import type { AttentionControl } from '../pipeline/denoise.js';
import { attentionLayers } from './attention-layers.js';
import { firstConditionalRow } from './conditional-rows.js';
import { hookedAttention, type ProbabilityPart, probabilityTap } from './explicit-attention.js';

/**
 * By cross-attention layer (`mid_block.attentions.0.transformer_blocks.0.attn2`): (pictures, s, t), how much of its
 * attention each of the s places of the layer's picture gives to each of the t tokens, as a mean over the heads.
 */
export type AttentionMaps = ReadonlyMap<string, HostTensor>;

/** A control that changes probabilities, in a form that other controls can be put over. */
export interface EditingControl extends AttentionControl {
	readonly edit: ProbabilityPart;
}

export interface MapOptions {
	/** Pictures of the batch. Default: 1. */
	readonly pictures?: number | undefined;
	/** Which cross-attention layers; default: all. */
	readonly layers?: ((path: string) => boolean) | undefined;
	/** Query rows in so many pieces: less memory, same numbers. */
	readonly slices?: number | undefined;
	/** Collect over this control, whose edits the maps then show. */
	readonly over?: EditingControl | undefined;
}

/** Collects over one run; make a new one for the next (its session is found again by the key). */
export interface MapCollector extends AttentionControl {
	/** Paths of the layers that are collected. */
	readonly layers: readonly string[];
	/** Calls of the model that were seen. */
	readonly seenCalls: number;
	/** Of the last call. @throws {FormatError} `E_USAGE` before the first. */
	last(): AttentionMaps;
	/** Mean over the calls so far. @throws {FormatError} `E_USAGE` before the first. */
	mean(): AttentionMaps;
}

/**
 * Maps of the conditional half of every call, taken out of the graph as means over the heads.
 * @throws {FormatError} `E_USAGE` when no layer of the UNet is wanted.
 */
export function collectMaps(config: UnetConfig, { pictures = 1, layers: wanted, slices, over }: MapOptions = {}): MapCollector {
	const layers = attentionLayers(config)
		.filter(({ path, kind }) => kind === 'cross' && (wanted?.(path) ?? true))
		.map(({ path }) => path);
	if (layers.length === 0) throw new FormatError('E_USAGE', 'No cross-attention layer of this UNet is among the layers wanted.');
	const chosen = new Set(layers);
	const taps = layers.map((path) => probabilityTap('unet', path));
	const totals = new Map<string, Float64Array>();
	let latest: AttentionMaps = new Map();
	let calls = 0;

	function needed(): void {
		if (calls === 0) throw new FormatError('E_USAGE', 'No attention maps are there yet: the model has not been called.');
	}

	const watch: ProbabilityPart = {
		wants: ({ path, kind }) => kind === 'cross' && chosen.has(path),
		apply: (net, call, probabilities) => meanOverHeads(net, call, probabilities, pictures),
	};
	return {
		key: `maps pictures=${pictures} slices=${slices ?? 1} layers=${layers.join(',')} ${over?.key ?? ''}`,
		processor: hookedAttention({ edit: over?.edit, watch, slices }),
		feeds: (call, all) => over?.feeds?.(call, all) ?? {},
		taps: [...taps, ...(over?.taps ?? [])],
		layers,
		get seenCalls() {
			return calls;
		},
		seen(call, results) {
			over?.seen?.(call, results);
			latest = new Map(layers.map((path, i) => [path, need(results[taps[i] ?? ''])]));
			calls++;
			for (const [path, { data }] of latest) {
				const total = totals.get(path) ?? new Float64Array(data.length);
				for (const [i, x] of data.entries()) total[i] = (total[i] ?? 0) + x;
				totals.set(path, total);
			}
		},
		last() {
			needed();
			return latest;
		},
		mean() {
			needed();
			return new Map(
				Array.from(latest, ([path, { shape }]): [string, HostTensor] => {
					const total = totals.get(path) ?? new Float64Array(countOf(shape));
					return [
						path,
						f32Tensor(
							shape,
							Float32Array.from(total, (x) => x / calls),
						),
					];
				}),
			);
		},
	};
}

/** (b, heads, rows, t) -> (pictures, rows, t) of the conditional half. */
function meanOverHeads({ ops }: Net, { query, heads }: AttentionCall, probabilities: Value, pictures: number): Value {
	const first = firstConditionalRow(query, pictures);
	const [batch, rows, tokens] = [sizeOf(probabilities, 0), sizeOf(probabilities, 2), sizeOf(probabilities, 3)];
	const own = first === 0 ? probabilities : slice(ops, probabilities, 0, first, batch);
	return reshape(ops, scaleBy(ops, sum(ops, own, 1), 1 / heads), [pictures, rows, tokens]);
}

function need(tensor: HostTensor | undefined): HostTensor {
	if (tensor === undefined) throw new TypeError('a tap that was asked for is missing');
	return tensor;
}
