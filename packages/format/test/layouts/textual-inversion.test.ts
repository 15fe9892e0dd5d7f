import { describe, expect, it } from 'vitest';
import type { Embedding } from '../../src/adapter.js';
import { embeddingFiles, looksLikeEmbeddings, readEmbeddings } from '../../src/layouts/textual-inversion.js';
import type { Tensor } from '../../src/tensor.js';
import { dict, type Literal } from './peft-helpers.js';

function vectors(shape: readonly number[]): Tensor {
	const [tensor] = dict({ v: [shape] }).tensors.values();
	if (tensor === undefined) throw new Error('no tensor');
	return tensor;
}

const embedding = (token: string, slot: string, component: string, shape: readonly number[] = [2, 8]): Embedding => ({
	token,
	slot,
	component,
	vectors: vectors(shape),
});

describe('readEmbeddings', () => {
	// LAYOUTS §2.19.
	it.each<[string, string, Record<string, Literal>, readonly (readonly [string, string, string])[]]>([
		[
			'cloneofsimo .ti.pt',
			'a.ti.pt',
			{ '<s1>': [[768]], '<s2>': [[768]] },
			[
				['<s1>', '', 'text_encoder'],
				['<s2>', '', 'text_encoder'],
			],
		],
		['diffusers', 'learned_embeds.safetensors', { '<cat-toy>': [[1, 768]] }, [['<cat-toy>', '', 'text_encoder']]],
		['kohya', 'dir/my-style.safetensors', { emb_params: [[4, 768]] }, [['my-style', 'emb_params', 'text_encoder']]],
		[
			'A1111',
			'dir/my-style.pt',
			{ 'string_to_param.*': [[4, 768]], string_to_token: [[1], [265], 'I64'] },
			[['my-style', 'string_to_param.*', 'text_encoder']],
		],
		[
			'SDXL',
			'x_emb.safetensors',
			{ clip_l: [[2, 768]], clip_g: [[2, 1280]] },
			[
				['x_emb', 'clip_l', 'text_encoder'],
				['x_emb', 'clip_g', 'text_encoder_2'],
			],
		],
		[
			'Flux',
			'x_emb.safetensors',
			{ clip_l: [[2, 768]], t5: [[2, 4096]] },
			[
				['x_emb', 'clip_l', 'text_encoder'],
				['x_emb', 't5', 'text_encoder_2'],
			],
		],
		['no vectors', 'x.safetensors', { a: [[2, 3, 4]], b: [[]] }, []],
	])('%s', (_, name, tensors, expected) => {
		const found = readEmbeddings({ ...dict(tensors), name });
		expect(found.map((e) => [e.token, e.slot, e.component])).toEqual(expected);
	});
});

describe('embeddingFiles', () => {
	it.each<[string, readonly Embedding[], readonly (readonly [string, readonly string[]])[]]>([
		['one token', [embedding('<s1>', '', 'text_encoder')], [['_emb', ['<s1>']]]],
		[
			'two tokens',
			[embedding('<s1>', '', 'text_encoder'), embedding('<s2>', '', 'text_encoder')],
			[
				['_emb_s1', ['<s1>']],
				['_emb_s2', ['<s2>']],
			],
		],
		[
			'an SDXL pair in one file',
			[embedding('a', 'clip_l', 'text_encoder'), embedding('a', 'clip_g', 'text_encoder_2')],
			[['_emb', ['clip_l', 'clip_g']]],
		],
		[
			'tokens that look alike on disk',
			[embedding('<A>', '', 'text_encoder'), embedding('a', '', 'text_encoder'), embedding('???', '', 'text_encoder')],
			[
				['_emb_A', ['<A>']],
				['_emb_a-2', ['a']],
				['_emb_token', ['???']],
			],
		],
		[
			'a path is no path',
			[embedding('../../etc', '', 'text_encoder'), embedding('b', '', 'text_encoder')],
			[
				['_emb_etc', ['../../etc']],
				['_emb_b', ['b']],
			],
		],
		['emb_params under its token', [embedding('s', 'emb_params', 'text_encoder')], [['_emb', ['s']]]],
	])('%s', (_, embeddings, expected) => {
		expect(embeddingFiles(embeddings).map((f) => [f.fileStemSuffix, [...f.tensors.keys()]])).toEqual(expected);
	});

	it.each<[string, readonly Embedding[]]>([
		['tokens', [embedding('<s1>', '', 'text_encoder', [8]), embedding('<s2>', '', 'text_encoder_2', [1, 8])]],
		[
			'slots',
			[embedding('x', 'clip_l', 'text_encoder'), embedding('x', 'clip_g', 'text_encoder_2'), embedding('y', 't5', 'text_encoder_3')],
		],
		['leaves of bundles', [embedding('x', 'emb_params', 'text_encoder'), embedding('y', 'string_to_param.*', 'text_encoder')]],
		['outputs', [embedding('x', 'clip_l', 'text_encoder'), embedding('x', 'clip_l_out', 'text_encoder')]],
		['one token in two encoders', [embedding('x', '', 'text_encoder'), embedding('x', '', 'text_encoder_2')]],
		['a token named like a slot', [embedding('clip_l', '', 'text_encoder')]],
	])('%s are found again exactly', (_, embeddings) => {
		const read = embeddingFiles(embeddings).flatMap((f) =>
			readEmbeddings({ ...dict({}), name: `out${f.fileStemSuffix}.safetensors`, tensors: f.tensors, metadata: f.metadata }),
		);
		expect(read).toEqual(embeddings);
	});
});

describe('looksLikeEmbeddings', () => {
	it.each<[boolean, Record<string, Literal>]>([
		[true, { '<s1>': [[768]] }],
		[true, { clip_l: [[2, 768]], clip_g: [[2, 1280]] }],
		[false, { 'unet.conv_in.lora_A.weight': [[2, 8]] }],
		[false, { 'unet:0:up': [[2, 8]] }],
		[false, { x: [[2, 8, 3]] }],
		[false, {}],
	])('%s (%#)', (expected, tensors) => {
		expect(looksLikeEmbeddings(dict(tensors))).toBe(expected);
	});
});
