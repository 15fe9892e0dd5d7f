import { FormatError, quote } from '@lorakit/format';
import { SCHEDULER_KINDS, type SchedulerKind } from '@lorakit/runtime';
import * as v from 'valibot';
import { DORA_STRENGTHS, type DoraStrengthWord } from '../dora-strength.js';
import { EDIT_KINDS, type EditRequest, MAX_EDITS } from './edit-request.js';
import { DEVICES, type DeviceName, ENGINES, type EngineName, PRECISIONS, type PrecisionName } from './open-engine.js';
import { ONE_PICTURE, type PictureView, VIEWS } from './picture-view.js';
import { WEIGHTINGS, type Weighting } from './prompt-language.js';

/** Keyword of the PNG text that holds a record. */
export const RECORD_KEYWORD = 'lorakit';

/** Everything that a picture was made from: the text `lorakit` of its PNG. */
export interface PictureRecord {
	readonly schema: 'lora.picture/1';
	/** Of lorakit. */
	readonly version: string;
	readonly engine: { readonly id: EngineName; readonly device: DeviceName; readonly threads: number; readonly precision: PrecisionName };
	readonly base: {
		/** As it was named on the command line, like every path here. */
		readonly path: string;
		readonly variant: string | null;
		readonly config: string | null;
		readonly tokenizer: string | null;
		readonly files: readonly { readonly path: string; readonly bytes: number; readonly sha256: string }[];
		/** Hash of what its configuration files say. */
		readonly configuration: string;
	};
	readonly adapters: readonly {
		readonly path: string;
		readonly sha256: string;
		/** First 12 hex of AutoV3: A1111's hash of a LoRA. */
		readonly hash: string | null;
		readonly scale: number;
		/** By component, times `scale`. */
		readonly components: Readonly<Record<string, number>>;
		readonly blocks: string | null;
		/** `--lora`, `<lora:…>` of the prompt, or an axis of `--grid`. */
		readonly origin: 'option' | 'prompt' | 'grid';
	}[];
	/** How the adapters were read. */
	readonly reading: { readonly from: string | null; readonly order: 'old' | 'new' | null; readonly repair: boolean };
	readonly embeddings: readonly { readonly path: string; readonly sha256: string; readonly token: string | null }[];
	/** The picture that it starts from, and that picture's own size (upright; earlier versions did not say). */
	readonly init: {
		readonly path: string;
		readonly sha256: string;
		readonly width?: number | undefined;
		readonly height?: number | undefined;
	} | null;
	readonly settings: {
		readonly prompt: string;
		readonly negative: string | null;
		/** Decimal: it may not fit a number. */
		readonly seed: string;
		readonly steps: number;
		readonly scheduler: SchedulerKind;
		readonly schedulerOptions: Readonly<Record<string, unknown>>;
		readonly guidance: number;
		readonly guidanceRescale: number;
		readonly eta: number;
		readonly clipSkip: number;
		readonly width: number;
		readonly height: number;
		readonly strength: number | null;
		readonly weighting: Weighting;
		readonly fused: boolean;
		/** `--dora-strength`. Absent in pictures of versions that had it not. */
		readonly doraStrength: DoraStrengthWord;
	};
	/** `--grid` of a sheet; null for one picture. */
	readonly grid: string | null;
	/** `--edit` and what belongs to it. Absent in pictures of versions that had it not, like what follows. */
	readonly edit: EditRequest | null;
	/** Words of `--attention-maps`: layers that are looked into compute in another way, to the last bit. */
	readonly attention: readonly string[];
	/** What of the run the file shows. */
	readonly view: PictureView;
}

const text: v.GenericSchema<string> = v.pipe(v.string(), v.maxLength(200_000));
const real: v.GenericSchema<number> = v.pipe(v.number(), v.finite());
const sha256: v.GenericSchema<string> = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/));

const share: v.GenericSchema<number> = v.pipe(v.number(), v.minValue(0), v.maxValue(1));
const range: v.GenericSchema<[number, number]> = v.tuple([share, share]);

const RECORD: v.GenericSchema<unknown, PictureRecord> = v.pipe(
	v.unknown(),
	v.object({
		schema: v.literal('lora.picture/1'),
		version: text,
		engine: v.object({
			id: v.picklist(ENGINES),
			device: v.picklist(DEVICES),
			threads: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(1024)),
			// Pictures of before there was another say nothing.
			precision: v.optional(v.picklist(PRECISIONS), 'fp32'),
		}),
		base: v.object({
			path: text,
			variant: v.nullable(text),
			config: v.nullable(text),
			tokenizer: v.nullable(text),
			files: list(v.object({ path: text, bytes: real, sha256 })),
			configuration: sha256,
		}),
		adapters: list(
			v.object({
				path: text,
				sha256,
				hash: v.nullable(text),
				scale: real,
				components: v.record(v.string(), real),
				blocks: v.nullable(text),
				origin: v.picklist(['option', 'prompt', 'grid']),
			}),
		),
		reading: v.object({ from: v.nullable(text), order: v.nullable(v.picklist(['old', 'new'])), repair: v.boolean() }),
		embeddings: list(v.object({ path: text, sha256, token: v.nullable(text) })),
		init: v.nullable(v.object({ path: text, sha256, width: v.optional(real), height: v.optional(real) })),
		settings: v.object({
			prompt: text,
			negative: v.nullable(text),
			seed: v.pipe(v.string(), v.regex(/^-?\d{1,20}$/)),
			steps: real,
			scheduler: v.picklist(SCHEDULER_KINDS),
			schedulerOptions: v.record(v.string(), v.unknown()),
			guidance: real,
			guidanceRescale: real,
			eta: real,
			clipSkip: real,
			width: real,
			height: real,
			strength: v.nullable(real),
			weighting: v.picklist(WEIGHTINGS),
			fused: v.boolean(),
			doraStrength: v.optional(v.picklist(DORA_STRENGTHS), 'interpolate'),
		}),
		grid: v.nullable(text),
		edit: v.optional(
			v.nullable(
				v.object({
					edits: v.pipe(v.array(v.object({ kind: v.picklist(EDIT_KINDS), prompt: text })), v.minLength(1), v.maxLength(MAX_EDITS)),
					cross: range,
					crossWords: list(v.object({ word: text, range })),
					self: range,
					words: list(v.object({ word: text, factor: real })),
					local: v.nullable(v.object({ words: list(text), threshold: real, start: real })),
				}),
			),
			null,
		),
		attention: v.optional(list(text), []),
		view: v.optional(
			v.object({ shows: v.picklist(VIEWS), picture: v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(MAX_EDITS)) }),
			ONE_PICTURE,
		),
	}),
	v.check(
		({ edit, attention, view: { shows, picture } }) =>
			picture <= (edit?.edits.length ?? 0) && (shows !== 'edits' || edit !== null) && (shows !== 'attention' || attention.length > 0),
		'a view of a picture that the run has',
	),
);

/** The prompt that the file shows a picture of; the source's for sheets. */
export function shownPrompt({ settings, edit, view }: PictureRecord): string {
	return view.picture === 0 ? settings.prompt : (edit?.edits[view.picture - 1]?.prompt ?? settings.prompt);
}

/**
 * The record of a PNG's texts.
 * @throws {FormatError} `E_USAGE` when there is none, `E_CONFIG` when it is not one of ours, naming the first thing that is wrong.
 */
export function readRecord(texts: ReadonlyMap<string, string>, name: string): PictureRecord {
	const json = texts.get(RECORD_KEYWORD);
	if (json === undefined) {
		throw new FormatError(
			'E_USAGE',
			`${quote(name)} has no text "${RECORD_KEYWORD}", so it does not say how it was made; only pictures of "lora generate" that kept their texts can be repeated.`,
		);
	}
	let value: unknown;
	try {
		value = JSON.parse(json);
	} catch (cause) {
		throw new FormatError('E_CONFIG', `The text "${RECORD_KEYWORD}" of ${quote(name)} is no JSON; the file was changed.`, { cause });
	}
	const result = v.safeParse(RECORD, value);
	if (result.success) return result.output;
	const [issue] = result.issues;
	throw new FormatError(
		'E_CONFIG',
		`The text "${RECORD_KEYWORD}" of ${quote(name)} is not as this version writes it: ${v.getDotPath(issue) ?? 'it'} is ${issue.received.slice(0, 80)}, expected ${(issue.expected ?? issue.message).slice(0, 120)}.`,
	);
}

function list<T>(item: v.GenericSchema<T>): v.GenericSchema<T[]> {
	return v.pipe(v.array(item), v.maxLength(10_000));
}
