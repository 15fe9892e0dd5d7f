import os from 'node:os';
import { FormatError, parseAdapterSpec, quote } from '@lorakit/format';
import type { SchedulerKind } from '@lorakit/runtime';
import type { DoraStrengthWord } from '../dora-strength.js';
import type { ReadFlags } from '../options.js';
import { attentionRequest, type EditFlags, type EditRequest, editRequest } from './edit-request.js';
import { type GridAxis, parseGrid } from './grid-spec.js';
import { parseNumber, parseSeed, parseSize, parseWhole, randomSeed } from './numbers.js';
import type { DeviceName, EngineChoice, EngineName, PrecisionName } from './open-engine.js';
import type { PictureRecord } from './picture-record.js';
import type { PictureSettings } from './picture-settings.js';
import type { PictureView } from './picture-view.js';
import type { Weighting } from './prompt-language.js';
import { checkRecordedPlaces } from './recorded-places.js';

/** The flags of `lora generate`, as commander hands them over. */
export interface GenerateFlags extends ReadFlags, EditFlags {
	readonly lora?: readonly string[] | undefined;
	readonly fromHub?: string | undefined;
	readonly offline?: boolean | undefined;
	readonly loraDir?: string | undefined;
	readonly prompt?: string | undefined;
	readonly negative?: string | undefined;
	readonly seed?: string | undefined;
	readonly steps?: string | undefined;
	readonly scheduler?: SchedulerKind | undefined;
	readonly schedulerOption?: readonly string[] | undefined;
	readonly guidance?: string | undefined;
	readonly guidanceRescale?: string | undefined;
	readonly eta?: string | undefined;
	readonly clipSkip?: string | undefined;
	readonly size?: string | undefined;
	readonly num?: string | undefined;
	readonly initImage?: string | undefined;
	readonly strength?: string | undefined;
	readonly out?: string | undefined;
	readonly grid?: string | undefined;
	readonly repeat?: string | undefined;
	readonly weighting?: Weighting | undefined;
	readonly embedding?: readonly string[] | undefined;
	readonly fused?: boolean | undefined;
	readonly doraStrength?: DoraStrengthWord | undefined;
	readonly tokenizer?: string | undefined;
	readonly config?: string | undefined;
	readonly variant?: string | undefined;
	readonly engine?: EngineName | undefined;
	readonly device?: DeviceName | undefined;
	readonly threads?: string | undefined;
	readonly precision?: PrecisionName | undefined;
	readonly force?: boolean | undefined;
	readonly dryRun?: boolean | undefined;
}

/** What is to be done, every text of the command line read. */
export interface GenerateRequest {
	readonly base: {
		readonly path: string;
		readonly variant: string | undefined;
		readonly config: string | undefined;
		readonly tokenizer: string | undefined;
	};
	/** Specs of `--lora`; `prompt` marks those that a repeated prompt asked for. */
	readonly adapters: readonly { readonly spec: string; readonly origin: 'option' | 'prompt' }[];
	/** Where `<lora:name>` is looked for; undefined: not at all, for `adapters` has them. */
	readonly loraDir: string | undefined;
	readonly reading: { readonly from: string | undefined; readonly order: 'old' | 'new' | undefined; readonly repair: boolean };
	readonly embeddings: readonly string[];
	readonly init: string | undefined;
	/** `width` and `height` undefined: those of the base or of `init`. */
	readonly settings: Omit<PictureSettings, 'width' | 'height'>;
	readonly size: { readonly width: number; readonly height: number } | undefined;
	readonly weighting: Weighting;
	readonly fused: boolean;
	readonly doraStrength: DoraStrengthWord;
	readonly num: number;
	readonly grid: { readonly text: string; readonly axes: readonly GridAxis[] } | undefined;
	readonly edit: EditRequest | undefined;
	/** Words of `--attention-maps`; none: no maps. */
	readonly attention: readonly string[];
	/** What of the run is wanted; undefined: everything. */
	readonly view: PictureView | undefined;
	readonly engine: EngineChoice;
	/** undefined: nothing is written (a repeat that only compares). */
	readonly out: string | undefined;
	readonly force: boolean;
	readonly dryRun: boolean;
}

const MAX_PICTURES = 1000;
const DEFAULT_STRENGTH = 0.8;

/** @throws {FormatError} `E_USAGE`, one sentence each. */
export function requestOf(flags: GenerateFlags): GenerateRequest {
	const grid = flags.grid === undefined ? undefined : { text: flags.grid, axes: parseGrid(flags.grid) };
	const prompt = promptOf(flags, grid?.axes ?? []);
	if (flags.base === undefined || prompt === undefined) {
		throw new FormatError(
			'E_USAGE',
			'generate takes --base (or --from-hub) and --prompt, or --repeat FILE.png. See "lora generate --help".',
		);
	}
	if (flags.offline === true && flags.fromHub === undefined) {
		throw new FormatError('E_USAGE', '--offline goes with --from-hub; nothing else here fetches from the Hub.');
	}
	if (flags.strength !== undefined && flags.initImage === undefined) {
		throw new FormatError('E_USAGE', '--strength says how far to go from --init-image; name one, or leave --strength out.');
	}
	const num = flags.num === undefined ? 1 : parseWhole(flags.num, '--num', 1, MAX_PICTURES);
	const seed = flags.seed === undefined ? randomSeed() : parseSeed(flags.seed);
	// The last one, before the first picture is drawn.
	if (num > 1) parseSeed(String(seed + BigInt(num - 1)));
	if (grid !== undefined && num > 1)
		throw new FormatError('E_USAGE', '--num and --grid do not go together; give --grid an axis seed=7..10.');
	if (grid?.axes.some(({ name }) => name === 'strength') === true && flags.initImage === undefined) {
		throw new FormatError('E_USAGE', 'An axis "strength" needs --init-image.');
	}
	const edit = editRequest(flags, prompt);
	const attention = attentionRequest(flags);
	if (edit !== undefined) checkEdit(flags);
	checkGridEdits(grid?.axes ?? [], edit !== undefined, attention.length > 0);
	return {
		base: { path: flags.base, variant: flags.variant, config: flags.config, tokenizer: flags.tokenizer },
		adapters: (flags.lora ?? []).map((spec) => ({ spec, origin: 'option' })),
		loraDir: flags.loraDir ?? '.',
		reading: { from: flags.from, order: flags.order, repair: flags.repair === true },
		embeddings: flags.embedding ?? [],
		init: flags.initImage,
		settings: {
			prompt,
			negative: flags.negative,
			seed,
			steps: flags.steps === undefined ? 20 : parseWhole(flags.steps, '--steps', 1, 1000),
			scheduler: flags.scheduler ?? 'dpmsolver++',
			schedulerOptions: schedulerOptions(flags.schedulerOption ?? []),
			guidance: flags.guidance === undefined ? 7.5 : parseNumber(flags.guidance, '--guidance', 0, 1000),
			guidanceRescale: flags.guidanceRescale === undefined ? 0 : parseNumber(flags.guidanceRescale, '--guidance-rescale', 0, 1),
			eta: flags.eta === undefined ? 0 : parseNumber(flags.eta, '--eta', 0, 1),
			clipSkip: flags.clipSkip === undefined ? 0 : parseWhole(flags.clipSkip, '--clip-skip', 0, 100),
			strength:
				flags.initImage === undefined
					? undefined
					: flags.strength === undefined
						? DEFAULT_STRENGTH
						: parseNumber(flags.strength, '--strength', 0, 1),
		},
		size: flags.size === undefined ? undefined : parseSize(flags.size),
		weighting: flags.weighting ?? 'none',
		fused: flags.fused === true,
		doraStrength: flags.doraStrength ?? 'interpolate',
		num,
		grid,
		edit,
		attention,
		view: undefined,
		engine: engineChoice(flags),
		out: flags.out ?? (grid === undefined ? '.' : 'grid.png'),
		force: flags.force === true,
		dryRun: flags.dryRun === true,
	};
}

/** Edits go by the words of prompts as they are. */
function checkEdit({ weighting }: GenerateFlags): void {
	if (weighting !== 'a1111') return;
	throw new FormatError(
		'E_USAGE',
		'--edit goes by the words of a plain prompt, which --weighting a1111 reads otherwise; leave --weighting out (--edit-word WORD=FACTOR makes words stronger).',
	);
}

/** The prompt, or the first that an axis of the grid has. @throws {FormatError} `E_USAGE` where both say it */
function promptOf({ prompt }: GenerateFlags, axes: readonly GridAxis[]): string | undefined {
	const axis = axes.find(({ name }) => name === 'prompt');
	if (axis !== undefined && prompt !== undefined) {
		throw new FormatError('E_USAGE', 'An axis "prompt" of --grid says all prompts, so --prompt has none to say; leave it out.');
	}
	return axis?.values[0]?.change.settings.prompt ?? prompt;
}

/** A sheet has cells for edits, not for maps. */
function checkGridEdits(axes: readonly GridAxis[], edits: boolean, maps: boolean): void {
	if (axes.length === 0) return;
	if (maps) throw new FormatError('E_USAGE', '--attention-maps and --grid do not go together; --num draws them for several seeds.');
	const idle = axes.find(({ name }) => name.startsWith('edit-'));
	if (!edits && idle !== undefined)
		throw new FormatError('E_USAGE', `An axis "${idle.name}" is of edits, and there is none; name one with --edit.`);
	if (edits && axes.some(({ name }) => name === 'prompt')) {
		throw new FormatError('E_USAGE', 'An axis "prompt" and --edit do not go together: edits are of one prompt. Draw a sheet for each.');
	}
}

/** Flags that may stand beside `--repeat`: where files are now, where to compute, what to do with the picture. */
const BESIDE_REPEAT: ReadonlySet<string> = new Set(
	'repeat base lora embedding initImage tokenizer config engine device threads precision out force dryRun json quiet strict progress schema'.split(
		' ',
	),
);

/**
 * The request that a record says, at the places that the flags name.
 * @throws {FormatError} `E_USAGE` for flags that would make it another picture, and for parts on other machines that no flag names.
 */
export function requestOfRecord(record: PictureRecord, flags: GenerateFlags): GenerateRequest {
	const other = Object.entries(flags).find(([name, value]) => value !== undefined && !BESIDE_REPEAT.has(name));
	if (other !== undefined) {
		const flag = other[0].replaceAll(/[A-Z]/g, (c) => `-${c.toLowerCase()}`);
		throw new FormatError(
			'E_USAGE',
			`--repeat takes everything that makes the picture from the file, so --${flag} cannot stand beside it; only places (--base, --lora FILE, ...), --engine, --device, --threads, --precision and --out can.`,
		);
	}
	const { settings, base, reading, engine } = record;
	const grid = record.grid === null ? undefined : { text: record.grid, axes: parseGrid(record.grid) };
	checkRecordedPlaces(record, flags, grid?.axes ?? []);
	const fixed = record.adapters.filter(({ origin }) => origin !== 'grid');
	const moved = movedPaths(flags.lora, fixed.length, '--lora');
	const movedEmbeddings = movedPaths(flags.embedding, record.embeddings.length, '--embedding');
	return {
		base: {
			path: flags.base ?? base.path,
			variant: base.variant ?? undefined,
			config: flags.config ?? base.config ?? undefined,
			tokenizer: flags.tokenizer ?? base.tokenizer ?? undefined,
		},
		adapters: fixed.map((a, i) => ({ spec: specOf(a, moved?.[i]), origin: a.origin === 'prompt' ? 'prompt' : 'option' })),
		loraDir: undefined,
		reading: { from: reading.from ?? undefined, order: reading.order ?? undefined, repair: reading.repair },
		embeddings: record.embeddings.map(({ path, token }, i) => `${movedEmbeddings?.[i] ?? path}${token === null ? '' : `=${token}`}`),
		init: record.init === null ? undefined : (flags.initImage ?? record.init.path),
		settings: {
			prompt: settings.prompt,
			negative: settings.negative ?? undefined,
			seed: parseSeed(settings.seed),
			steps: settings.steps,
			scheduler: settings.scheduler,
			schedulerOptions: settings.schedulerOptions,
			guidance: settings.guidance,
			guidanceRescale: settings.guidanceRescale,
			eta: settings.eta,
			clipSkip: settings.clipSkip,
			strength: settings.strength ?? undefined,
		},
		size: { width: settings.width, height: settings.height },
		weighting: settings.weighting,
		fused: settings.fused,
		doraStrength: settings.doraStrength,
		num: 1,
		grid,
		edit: record.edit ?? undefined,
		attention: record.attention,
		view: record.view,
		engine: {
			engine: flags.engine ?? engine.id,
			device: flags.device ?? (flags.engine === undefined ? engine.device : undefined),
			threads: flags.threads === undefined ? engine.threads : parseWhole(flags.threads, '--threads', 1, 1024),
			precision: flags.precision ?? ((flags.engine ?? engine.id) === engine.id ? engine.precision : 'fp32'),
		},
		out: flags.out,
		force: flags.force === true,
		dryRun: flags.dryRun === true,
	};
}

/** A spec that `parseAdapterSpec` reads as this adapter at this strength. */
function specOf({ path, scale, components, blocks }: PictureRecord['adapters'][number], moved: string | undefined): string {
	const options = [...Object.entries(components).map(([name, value]) => `${name}=${value}`), ...(blocks === null ? [] : [`lbw=${blocks}`])];
	return `${moved ?? path}@${scale}${options.length === 0 ? '' : `:${options.join(',')}`}`;
}

/** Places that stand in for those of the record, in their order. */
function movedPaths(given: readonly string[] | undefined, count: number, flag: string): readonly string[] | undefined {
	if (given === undefined) return undefined;
	if (given.length !== count) {
		throw new FormatError(
			'E_USAGE',
			`The picture was made with ${count} of ${flag}, and ${given.length} are given; name all in their order, or none.`,
		);
	}
	if (flag !== '--lora') return given;
	return given.map((spec) => {
		const { path, scale, parts, blocks } = parseAdapterSpec(spec);
		if (scale !== 1 || parts.size > 0 || blocks !== undefined) {
			throw new FormatError('E_USAGE', `${quote(spec)} has a strength, but beside --repeat the picture says it; name the file alone.`);
		}
		return path;
	});
}

function engineChoice({ engine = 'onnx', device, threads, precision = 'fp32' }: GenerateFlags): EngineChoice {
	const cores = threads === undefined ? os.availableParallelism() : parseWhole(threads, '--threads', 1, 1024);
	return { engine, device, threads: cores, precision };
}

/** `name=value`, the value as JSON where it is some, else as a word. */
function schedulerOptions(given: readonly string[]): Readonly<Record<string, unknown>> {
	return Object.fromEntries(
		given.map((option) => {
			const cut = option.indexOf('=');
			if (cut < 1) throw new FormatError('E_USAGE', `${quote(option)} is no NAME=VALUE of a scheduler, such as use_karras_sigmas=true.`);
			return [option.slice(0, cut), jsonOrWord(option.slice(cut + 1))];
		}),
	);
}

function jsonOrWord(text: string): unknown {
	try {
		return JSON.parse(text);
	} catch {
		return text;
	}
}
