import type { Adapter } from '@lorakit/format';
import type { TrainableTensor } from '../../model/trainable-tensor.js';
import { adapterMetadata, embeddingMetadata } from '../../result/adapter-metadata.js';
import { planResult, type ResultOptions, type ResultPlan } from '../../result/plan-result.js';
import { trainedAdapter } from '../../result/trained-adapter.js';
import type { TrainingFacts } from '../../result/training-facts.js';
import type { RunConfig } from '../../run/config/run-config.js';
import { factsOf, type RunDescription, type RunProgress } from './describe-run.js';

/** An adapter as it is at a step. */
export interface AdapterFiles {
	readonly facts: TrainingFacts;
	readonly adapter: Adapter;
	readonly plan: ResultPlan;
}

/** The files of the adapter with these values. */
export function planOf(
	run: RunDescription,
	tensors: readonly TrainableTensor[],
	values: ReadonlyMap<string, Float32Array>,
	progress: RunProgress,
): AdapterFiles {
	const { config, model } = run;
	const now = tensors.map((tensor) => ({ ...tensor, values: values.get(tensor.name) ?? tensor.values }));
	const facts = factsOf(run, progress);
	// The inversion trains the token alone.
	const modules = tensors.some(({ name }) => name.endsWith(':down')) ? model.description.modules : [];
	const metadata = adapterMetadata(facts, { modules }, tensors, run.privateData === true ? 'none' : 'full');
	const adapter = trainedAdapter(now, { ...model.description, modules, metadata });
	return { facts, adapter, plan: planResult(adapter, { ...resultOptions(config), embeddingMetadata: embeddingMetadata(facts) }) };
}

/** How a configuration wants its files. */
export function resultOptions({ output }: RunConfig): ResultOptions {
	return { layout: output.layout, dtype: output.dtype, embeddings: output.embeddings ?? undefined };
}
