import { bytesSource, createSha256, fileHashes, inspect, readModelSpec, setMetadata, stripMetadata, validate } from '@lorakit/format';
import { describe, expect, test } from 'vitest';
import { adapterMetadata, embeddingMetadata, TRAINING_KEY } from '../../src/result/adapter-metadata.js';
import { planResult, type ResultOptions } from '../../src/result/plan-result.js';
import { pythonFloat } from '../../src/result/python-value.js';
import { tagFrequency } from '../../src/result/tag-frequency.js';
import { type TrainedModule, trainedAdapter } from '../../src/result/trained-adapter.js';
import {
	attentionOf,
	type CaseModule,
	fixture,
	fixtureJson,
	NARROW,
	open,
	SD15,
	someFacts,
	stateDict,
	trainables,
	written,
} from './support.js';

const CASES = fixtureJson<Readonly<Record<string, readonly CaseModule[]>>>('cases.json');

async function made(
	given: { readonly modules: readonly TrainedModule[]; readonly tensors: Awaited<ReturnType<typeof trainables>> },
	options: ResultOptions,
	facts = someFacts(),
) {
	const metadata = adapterMetadata(facts, given, given.tensors);
	const adapter = trainedAdapter(given.tensors, { name: 'made', architecture: facts.base.architecture, modules: given.modules, metadata });
	const plan = planResult(adapter, options);
	const files = await written(plan);
	const bytes = files.get(plan.main ?? '') ?? new Uint8Array();
	return { bytes, metadata: (await stateDict(bytes)).metadata, config: files.get('adapter_config.json') };
}

describe('a file with its metadata', () => {
	const sd15 = attentionOf(SD15, 4);
	const narrow = attentionOf(NARROW, 2);

	test.each<readonly [string, typeof sd15, ResultOptions]>([
		['SD1.5, diffusers', sd15, {}],
		['SD1.5, diffusers, F16', sd15, { dtype: 'F16' }],
		['SD1.5, kohya', sd15, { layout: 'kohya' }],
		['SD1.5, kohya, alpha 1', attentionOf(SD15, 4, 1), { layout: 'kohya' }],
		['narrow, cloneofsimo', narrow, { layout: 'cloneofsimo' }],
		['narrow, peft', narrow, { layout: 'peft' }],
	])('%s: validate and inspect find nothing', async (_, given, options) => {
		const { bytes, config } = await made(given, options);
		const input = await open(bytes, config === undefined ? undefined : new TextDecoder().decode(config));
		const report = await validate(input, { hasher: createSha256, order: 'new' });
		expect([report.verdict, report.errors, report.warnings]).toEqual(['ok', [], []]);
		const seen = await inspect(input, {});
		expect(seen.warnings).toEqual([]);
		expect(seen.triggerWords.map(({ word }) => word)).toContain('striped');
		expect(seen.training.map(({ fact }) => fact)).toEqual(
			expect.arrayContaining(['steps', 'learning rate', 'optimizer', 'license', 'trained with']),
		);
	});

	test.each(['locon', 'dora', 'rslora'])('%s: nothing but what the layout itself brings', async (name) => {
		const given = { modules: CASES[name] ?? [], tensors: await trainables(fixture(`${name}-factors.safetensors`)) };
		const { bytes } = await made(given, { layout: 'kohya' });
		const report = await validate(await open(bytes), { hasher: createSha256 });
		expect(report.errors).toEqual([]);
		// What runtimes make of rsLoRA, DoRA and LoCon is said for any such file; metadata must add nothing.
		expect(report.warnings.filter(({ code }) => code.startsWith('W_METADATA'))).toEqual([]);
	});

	test('hashes are those of the file', async () => {
		const { bytes, metadata } = await made(sd15, {});
		const hashes = await fileHashes(bytesSource(bytes), await stateDict(bytes), createSha256);
		expect(hashes.stale).toEqual([]);
		expect(metadata.get('sshs_model_hash')).toBe(hashes.autoV3);
		expect(metadata.get('sshs_legacy_hash')).toBe(hashes.sshsLegacyHash);
		expect(metadata.get('modelspec.hash_sha256')).toBe(`0x${hashes.autoV3}`);
	});

	test('kohya\u2019s entries as sd-scripts spells them', async () => {
		const { metadata } = await made(sd15, { layout: 'kohya' });
		const said = (key: string): string | undefined => metadata.get(`ss_${key}`);
		expect(said('network_module')).toBe('networks.lora');
		expect(said('network_dim')).toBe('4');
		expect(said('network_alpha')).toBe('4.0');
		expect(said('base_model_version')).toBe('sd_v1');
		expect(said('sd_model_name')).toBe('somebody/tiny-shapes');
		expect(said('new_sd_model_hash')).toBe('ab'.repeat(32));
		expect(said('learning_rate')).toBe('0.003');
		expect(said('optimizer')).toBe('AdamW(weight_decay=0.01)');
		expect(said('steps')).toBe('400');
		expect(said('gradient_checkpointing')).toBe('False');
		expect(said('training_finished_at')).toBe('1767323105.250');
		expect(JSON.parse(said('dataset_dirs') ?? '')).toEqual({ striped: { n_repeats: 1, img_count: 10 } });
		expect(JSON.parse(said('tag_frequency') ?? '')).toEqual({ striped: { 'a striped circle': 1, red: 2, 'a striped square': 1 } });
		expect(JSON.parse(said('bucket_info') ?? '')).toEqual({ buckets: { 0: { resolution: [64, 64], count: 10 } } });
		expect(said('output_name')).toBe('Striped-shapes');
	});

	test('several ranks, convolutions, DoRA', async () => {
		const given = { modules: CASES['locon'] ?? [], tensors: await trainables(fixture('locon-factors.safetensors')) };
		const { metadata } = await made(given, { layout: 'kohya' });
		// The fixture: linear layers and proj_in of rank 4 with alpha 2, conv1 of rank 2 with alpha 6, conv2 of rank 4 with alpha 2.
		expect(metadata.get('ss_network_dim')).toBe('4');
		expect(metadata.get('ss_network_alpha')).toBe('2.0');
		expect(JSON.parse(metadata.get('ss_network_args') ?? '')).toEqual({ conv_dim: 'Dynamic', conv_alpha: 'Dynamic' });
		const dora = { modules: CASES['dora'] ?? [], tensors: await trainables(fixture('dora-factors.safetensors')) };
		const own = (await made(dora, { layout: 'kohya' })).metadata;
		expect(own.get('ss_network_module')).toBe('lycoris.kohya');
		expect(JSON.parse(own.get('ss_network_args') ?? '')).toMatchObject({ algo: 'locon', dora_wd: 'True' });
	});

	test('modelspec has no problem, and says v-prediction of SD2', () => {
		const facts = someFacts();
		expect(readModelSpec(adapterMetadata(facts, { modules: [] }, [])).problems).toEqual(
			['modelspec.hash_sha256 is not 0x and 64 lower-case hex digits.'].slice(1),
		);
		const v = someFacts({ base: { ...facts.base, architecture: 'sd2', predictionType: 'v_prediction' } });
		const { fields } = readModelSpec(adapterMetadata(v, { modules: [] }, []));
		expect([fields.get('architecture'), fields.get('prediction_type')]).toEqual(['stable-diffusion-v2-768-v/lora', 'v']);
		expect(readModelSpec(embeddingMetadata(facts)).fields.get('architecture')).toBe('stable-diffusion-v1/textual-inversion');
	});

	test('privacy none: no captions and folders, as lora meta strip --private leaves it', () => {
		const metadata = adapterMetadata(someFacts(), { modules: [] }, [], 'none');
		const stripped = stripMetadata(metadata, 'private');
		const about = stripped.removed.filter((key) => /dataset|tag|bucket/.test(key));
		expect(about).toEqual([]);
		expect([...metadata.values()].join('\n')).not.toContain('circle');
	});

	test('half surrogate pairs and names such as __proto__ do no harm', async () => {
		const facts = someFacts({ title: 'a\ud800b' });
		const folders = [{ name: '__proto__', pictures: 1, repeats: 1, captions: ['\udc00', '__proto__'] }];
		const { metadata } = await made(narrow, {}, { ...facts, data: { ...facts.data, folders } });
		expect(metadata.get('modelspec.title')).toBe('a\ufffdb');
		expect(metadata.get('ss_tag_frequency')).toContain('"__proto__":{');
		expect(JSON.parse(metadata.get(TRAINING_KEY) ?? '')).toMatchObject({ schema: 'lora.training/1', run: { seed: 7 } });
	});

	test('an edit of the header leaves the meaning', async () => {
		const { bytes } = await made(narrow, {});
		const { metadata } = await stateDict(bytes);
		expect(setMetadata(metadata, [['modelspec.title', 'x']]).metadata.get('lora_adapter_metadata')).toBe(
			metadata.get('lora_adapter_metadata'),
		);
	});
});

test('numbers as Python prints them', () => {
	// From CPython 3.11: [str(x) for x in (...)].
	const printed = [
		[0.0001, '0.0001'],
		[0.00001, '1e-05'],
		[1.5e-7, '1.5e-07'],
		[4, '4.0'],
		[0, '0.0'],
		[-2.5, '-2.5'],
		[1e16, '1e+16'],
		[1e22, '1e+22'],
		[123456789012345680, '1.2345678901234568e+17'],
		[0.1, '0.1'],
		[1e-10, '1e-10'],
	] as const;
	for (const [value, text] of printed) expect(pythonFloat(value)).toBe(text);
});

test('tags as sd-scripts counts them', () => {
	expect([...tagFrequency(['A cat, red , ,red', 'a cat'])]).toEqual([
		['a cat', 2],
		['red', 2],
	]);
});
