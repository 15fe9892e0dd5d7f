import type { RunEvent } from '../run-events.js';
import { joined, messageField, textField, varintField } from './protobuf.js';

/** Fields of `Record` and what it holds (wandb/wandb wandb/proto/wandb_internal.proto). */
const RECORD = { num: 1, history: 2, summary: 3, run: 17, exit: 18, header: 21, info: 200 } as const;
const RUN = { id: 1, project: 3, config: 4, group: 6, name: 8, host: 13, startingStep: 14, startTime: 17 } as const;
const ITEM = { key: 1, nestedKey: 2, json: 16 } as const;

/** What Weights & Biases calls a run. */
export interface WandbRun {
	/** Eight letters and digits. */
	readonly id: string;
	readonly project: string;
	readonly name: string;
	/** Runs that are lives of one training. */
	readonly group: string;
	readonly config: Readonly<Record<string, unknown>>;
	readonly host: string;
	readonly version: string;
	/** Milliseconds since 1970. */
	readonly startedAt: number;
	readonly startingStep: number;
}

type Values = Readonly<Record<string, number | boolean | string>>;

/** Records number themselves from 1. */
export interface WandbRecords {
	/** Header and run: the two that begin a file. */
	begin(): readonly Uint8Array[];
	/** Those of an event: history, for what has a place there. @param at milliseconds since 1970 */
	event(event: RunEvent, at: number): readonly Uint8Array[];
	/** Summary and exit. */
	end(exitCode: number, at: number): readonly Uint8Array[];
}

export function createWandbRecords(run: WandbRun): WandbRecords {
	let num = 0;
	const summary: Record<string, number | boolean | string> = {};
	/** Values of a step that is not written yet: W&B takes one history record a step. */
	let pending: { step: number; values: Values; at: number } | undefined;
	const record = (field: number, parts: readonly Uint8Array[]): Uint8Array =>
		joined([varintField(RECORD.num, ++num), messageField(field, parts), messageField(RECORD.info, [textField(1, run.id)])]);
	const seconds = (at: number): number => (at - run.startedAt) / 1000;

	function flush(): readonly Uint8Array[] {
		if (pending === undefined) return [];
		const { step, at } = pending;
		const values: Values = { ...pending.values, _step: step, _timestamp: at / 1000, _runtime: seconds(at) };
		pending = undefined;
		Object.assign(summary, values);
		return [record(RECORD.history, [...items(1, values), messageField(2, [nonZero(1, step)])])];
	}

	return {
		begin() {
			const { startedAt } = run;
			const config = Object.entries(run.config).map(([key, value]) =>
				messageField(1, [textField(ITEM.key, key), textField(ITEM.json, JSON.stringify(value))]),
			);
			return [
				record(RECORD.header, [messageField(1, [textField(1, `lorakit ${run.version}`)])]),
				record(RECORD.run, [
					textField(RUN.id, run.id),
					textField(RUN.project, run.project),
					messageField(RUN.config, config),
					textField(RUN.group, run.group),
					textField(RUN.name, run.name),
					textField(RUN.host, run.host),
					nonZero(RUN.startingStep, run.startingStep),
					messageField(RUN.startTime, [nonZero(1, Math.floor(startedAt / 1000)), nonZero(2, Math.floor((startedAt % 1000) * 1e6))]),
				]),
			];
		},
		event(event, at) {
			const values = valuesOf(event);
			if (values === undefined) return [];
			const out = pending !== undefined && pending.step !== event.step ? flush() : [];
			pending = { step: event.step, values: { ...pending?.values, ...values }, at };
			return out;
		},
		end(exitCode, at) {
			const last = flush();
			return [
				...last,
				record(RECORD.summary, items(1, summary)),
				record(RECORD.exit, [nonZero(1, exitCode), nonZero(2, Math.floor(seconds(at)))]),
			];
		},
	};
}

/** proto3 leaves out what is 0. */
function nonZero(field: number, value: number): Uint8Array {
	return value === 0 ? new Uint8Array(0) : varintField(field, value);
}

function items(field: number, values: Values): readonly Uint8Array[] {
	return Object.entries(values).map(([key, value]) =>
		messageField(field, [textField(ITEM.nestedKey, key), textField(ITEM.json, jsonOf(value))]),
	);
}

/** Python's json, which W&B reads and writes, has names for what is no number. */
function jsonOf(value: number | boolean | string): string {
	if (typeof value !== 'number' || Number.isFinite(value)) return JSON.stringify(value);
	return Number.isNaN(value) ? 'NaN' : value > 0 ? 'Infinity' : '-Infinity';
}

function valuesOf(event: RunEvent): Values | undefined {
	switch (event.type) {
		case 'step': {
			const rates = Object.entries(event.rates).map(([group, rate]) => [`learning_rate/${group}`, rate] as const);
			return {
				'train/loss': event.loss,
				'train/gradient_norm': event.gradientNorm,
				'train/epoch': event.epoch,
				'train/seconds': event.seconds,
				...Object.fromEntries(rates),
			};
		}
		case 'validation':
			return { 'validation/loss': event.loss };
		case 'overflow':
			return { 'train/loss_scale': event.scale };
		default:
			return undefined;
	}
}
