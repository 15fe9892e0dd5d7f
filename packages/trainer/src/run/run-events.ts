import type { ParameterGroup } from '../model/trainable-tensor.js';

/** Learning rates by group. */
export type Rates = Readonly<Partial<Record<ParameterGroup, number>>>;

/** Why a checkpoint is written. */
export type CheckpointReason = 'every' | 'best' | 'stopped' | 'nonfinite' | 'end';

/** Why a run ended. */
export type EndReason = 'steps' | 'patience' | 'stopped';

/** A picture made while training. */
export interface ValidationPicture {
	readonly prompt: string;
	readonly seed: number;
	/** PNG. */
	readonly png: Uint8Array;
	readonly width: number;
	readonly height: number;
}

/** What a run says. Steps count optimizer steps that are done. */
export type RunEvent =
	| StartEvent
	| StepEvent
	| { readonly type: 'overflow'; readonly step: number; readonly scale: number }
	| ValidationEvent
	| { readonly type: 'pictures'; readonly step: number; readonly pictures: readonly ValidationPicture[] }
	| { readonly type: 'checkpoint'; readonly step: number; readonly reason: CheckpointReason; readonly name: string }
	| EndEvent;

export interface StartEvent {
	readonly type: 'start';
	/** 0, or where a resumed run goes on. */
	readonly step: number;
	readonly steps: number;
	/** Trained numbers by group. */
	readonly parameters: Readonly<Partial<Record<ParameterGroup, number>>>;
}

export interface StepEvent {
	readonly type: 'step';
	readonly step: number;
	readonly epoch: number;
	/** Mean of the micro-batches. */
	readonly loss: number;
	readonly rates: Rates;
	/** Of all gradients together, before clipping. */
	readonly gradientNorm: number;
	/** Pictures of the step, class pictures included. */
	readonly samples: number;
	readonly seconds: number;
	/** Estimate of what is left, from the mean of the steps so far (later ones count more); validation is not in it. */
	readonly remainingSeconds: number;
}

export interface ValidationEvent {
	readonly type: 'validation';
	readonly step: number;
	/** Mean squared error of all held-out samples, unweighted. */
	readonly loss: number;
	readonly best: boolean;
	readonly seconds: number;
}

export interface EndEvent {
	readonly type: 'end';
	readonly step: number;
	readonly reason: EndReason;
}
