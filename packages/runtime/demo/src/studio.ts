import { type Adapter, type AdapterUse, blobSource, decodeAdapter, FormatError, FULL_STRENGTH, loadInput, quote } from '@lorakit/format';
import {
	type Base,
	createClipTokenizer,
	createStableDiffusion,
	createTorchGenerator,
	type Engine,
	f32Tensor,
	generate,
	openBaseFiles,
	roundPictures,
	SCHEDULER_KINDS,
	type StableDiffusion,
} from '@lorakit/runtime';
import { adapterSources } from './adapter-sources.js';
import { chooseEngine } from './choose-engine.js';
import { failureOf } from './failure-of.js';
import { folderPrompts } from './folder-prompts.js';
import type { AdapterFacts, BaseFacts, DeviceChoice, Failure, NamedFile, Picture, Progress, Rendered, RenderSettings } from './messages.js';

/** One base, one adapter over it or none, and pictures of them. Calls must not overlap. */
export interface Studio {
	/** Instead of the base before. When it throws, that one stays. */
	openBase(files: readonly NamedFile[], device: DeviceChoice): Promise<BaseFacts>;
	/** Instead of the adapter before; no files: none. When it throws, that one stays. */
	setAdapter(files: readonly NamedFile[]): Promise<AdapterFacts | undefined>;
	/** @throws {FormatError} `E_INTERRUPTED` after `signal`, and those of the runtime. */
	render(settings: RenderSettings, signal: AbortSignal): Promise<Rendered>;
}

/** Share of the time that may go into previews: each is a run of the VAE. */
const PREVIEW_SHARE = 0.2;

/** @param assets folder that ONNX Runtime's files are served from, ending in `/` */
export function createStudio(assets: string, onProgress: (progress: Progress) => void): Studio {
	let model: StableDiffusion | undefined;
	let adapter: { readonly adapter: Adapter; readonly name: string } | undefined;
	let sessions = 0;

	function counted(engine: Engine): Engine {
		return {
			...engine,
			load(...given) {
				sessions++;
				return engine.load(...given);
			},
		};
	}

	const usesOf = (scale: number): readonly AdapterUse[] =>
		adapter === undefined ? [] : [{ ...adapter, strength: { ...FULL_STRENGTH, scale } }];

	return {
		async openBase(files, device) {
			const base = await openBaseFiles(new Map(files.map(({ path, blob }) => [path, blobSource(blob, path)])));
			const tokenizers = tokenizersOf(base);
			const bytes = files.reduce((sum, { blob }) => sum + blob.size, 0);
			const { engine, notes } = await chooseEngine(device, assets, bytes);
			await model?.close();
			const onWeights = (component: string, done: number, total: number): void => onProgress({ stage: 'loading', component, done, total });
			model = createStableDiffusion(base, counted(engine), { tokenizers, onProgress: onWeights });
			let adapterRefused: Failure | undefined;
			try {
				await model.setAdapters(usesOf(1));
			} catch (error) {
				adapterRefused = failureOf(error);
				adapter = undefined;
			}
			const factor = factorOf(base);
			const [height, width] = base.unet.sampleSize ?? [512 / factor, 512 / factor];
			return {
				name: base.name,
				architecture: { sd1: 'Stable Diffusion 1.x', sd2: 'Stable Diffusion 2.x', sdxl: 'Stable Diffusion XL' }[base.architecture],
				bytes,
				width: width * factor,
				height: height * factor,
				prompts: await folderPrompts(files),
				engine:
					engine.id === 'float64' ? 'plain JavaScript (float64)' : `ONNX Runtime, ${engine.device === 'wasm' ? 'WebAssembly' : 'WebGPU'}`,
				notes: [...notes, ...base.warnings.map(({ code, message }) => `${code}: ${message}`)],
				adapterRefused,
			};
		},

		async setAdapter(files) {
			if (files.length === 0) {
				adapter = undefined;
				await model?.setAdapters([]);
				return undefined;
			}
			const input = await loadInput(await adapterSources(files));
			const decoded = decodeAdapter(input);
			const before = adapter;
			adapter = { adapter: decoded.adapter, name: stem(input.file.name ?? 'adapter') };
			try {
				const warnings = (await model?.setAdapters(usesOf(1))) ?? [];
				return {
					name: adapter.name,
					layout: decoded.layout.id,
					modules: decoded.adapter.modules.length,
					tokens: decoded.adapter.embeddings.map(({ token }) => token),
					notes: [...decoded.adapter.warnings, ...warnings].map(({ code, message }) => `${code}: ${message}`),
				};
			} catch (error) {
				adapter = before;
				throw error;
			}
		},

		async render(settings, signal) {
			if (model === undefined) throw new FormatError('E_USAGE', 'There is no base yet; pick one first.');
			const { base } = model;
			const started = performance.now();
			await model.setAdapters(usesOf(settings.scale));
			const { width, height, steps, guidance } = settings;
			const scheduler = SCHEDULER_KINDS.find((kind) => kind === settings.scheduler);
			if (scheduler === undefined) throw new FormatError('E_USAGE', `There is no scheduler ${quote(settings.scheduler)}.`);
			const prompt = await model.encodePrompt(settings.prompt, settings.negative === '' ? undefined : settings.negative, { width, height });
			const generators = [createTorchGenerator(seedOf(settings.seed))];
			const run = generate(model, { prompt, scheduler, steps, guidance, width, height, generators, signal });
			const factor = factorOf(base);
			const shape = [1, base.vae.latentChannels, height / factor, width / factor] as const;
			let onPreviews = 0;
			for (;;) {
				const next = await run.next();
				if (next.done === true) {
					const data = next.value.pictures[0] ?? new Uint8Array();
					const seconds = (performance.now() - started) / 1000;
					const notes = prompt.truncated.map((text) => `Too long, so left out: ${quote(text)}`);
					return { picture: { width, height, data }, adapter: adapter?.name, base: base.name, seconds, sessions, notes };
				}
				const { call, calls, latents } = next.value;
				let preview: Picture | undefined;
				const before = performance.now();
				if (call + 1 < calls && onPreviews <= PREVIEW_SHARE * (before - started)) {
					const pixels = await model.decode(f32Tensor(shape, latents));
					const [data] = roundPictures(pixels.data, pixels.shape as [number, number, number, number]);
					if (data !== undefined) preview = { width, height, data };
					onPreviews += performance.now() - before;
				}
				onProgress({ stage: 'drawing', step: call + 1, steps: calls, preview });
				await messagesHeard();
			}
		},
	};
}

/** Pixels to a latent. */
function factorOf(base: Base): number {
	return 2 ** (base.vae.blockOutChannels.length - 1);
}

function tokenizersOf(base: Base) {
	return base.textEncoders.map(({ component }, i) => {
		const files = base.tokenizers.find((t) => t.component === (i === 0 ? 'tokenizer' : 'tokenizer_2'));
		if (files?.vocab === undefined || files.merges === undefined) {
			throw new FormatError(
				'E_USAGE',
				`${quote(base.name)} has no vocab.json and merges.txt for ${component}; give the folder of a model that has its tokenizer, or drop that folder together with the checkpoint.`,
			);
		}
		return createClipTokenizer({
			vocab: files.vocab,
			merges: files.merges,
			config: files.tokenizerConfig,
			specialTokens: files.specialTokensMap,
			addedTokens: files.addedTokens,
		});
	});
}

function seedOf(text: string): bigint {
	if (!/^-?\d{1,20}$/.test(text.trim())) throw new FormatError('E_USAGE', `${quote(text)} is no seed; a whole number is needed.`);
	return BigInt(text.trim());
}

function stem(name: string): string {
	const file = name.slice(name.lastIndexOf('/') + 1);
	return file.replace(/\.(?:safetensors|bin|pt|pth|ckpt)$/i, '') || file;
}

/** Between two steps: a message that asks to stop can come in. */
async function messagesHeard(): Promise<void> {
	await new Promise((resolve) => setTimeout(resolve));
}
