import type { TrainedModule } from './trained-adapter.js';
import type { DataFolder, TrainingFacts } from './training-facts.js';

/** `lora.training/1`: what was trained, on what, how. Stands in the adapter's header and, with more, in `training.json`. */
export interface TrainingRecord {
	readonly schema: 'lora.training/1';
	readonly version: string;
	readonly title: string;
	readonly objective: TrainingFacts['objective'];
	readonly triggerPhrase: string | null;
	readonly base: {
		readonly name: string;
		readonly repo: string | null;
		readonly architecture: string;
		readonly predictionType: string;
		readonly files: readonly { readonly path: string; readonly bytes: number; readonly sha256: string }[];
	};
	/** Ranks and alphas as they were trained, most frequent first: modules of a component that have them. */
	readonly network: readonly {
		readonly component: string;
		readonly rank: number;
		readonly alpha: number;
		readonly rsLora: boolean;
		readonly modules: number;
	}[];
	readonly data: {
		readonly digest: string;
		readonly repo: string | null;
		readonly pictures: number;
		readonly classPictures: number;
		readonly validationPictures: number;
	};
	readonly run: Readonly<Record<string, unknown>>;
}

/** The record of a training, without folder names and captions. Dates are ISO 8601. */
export function trainingRecord(facts: TrainingFacts, modules: readonly TrainedModule[]): TrainingRecord {
	const { base, data, run } = facts;
	return {
		schema: 'lora.training/1',
		version: facts.version,
		title: facts.title,
		objective: facts.objective,
		triggerPhrase: facts.triggerPhrase ?? null,
		base: {
			name: base.name,
			repo: base.repo ?? null,
			architecture: base.architecture,
			predictionType: base.predictionType,
			files: base.files.map(({ path, bytes, sha256 }) => ({ path, bytes, sha256 })),
		},
		network: networkOf(modules),
		data: {
			digest: data.digest,
			repo: data.repo ?? null,
			pictures: pictureCount(data.folders),
			classPictures: pictureCount(data.classFolders ?? []),
			validationPictures: data.validationPictures ?? 0,
		},
		run: { ...run, startedAt: new Date(run.startedAt).toISOString(), finishedAt: new Date(run.finishedAt).toISOString() },
	};
}

/** Pictures of folders, each once. */
export function pictureCount(folders: readonly DataFolder[]): number {
	return folders.reduce((sum, { pictures }) => sum + pictures, 0);
}

function networkOf(modules: readonly TrainedModule[]): TrainingRecord['network'] {
	const groups = new Map<string, TrainingRecord['network'][number]>();
	for (const { component, rank, alpha, rsLora = false } of modules) {
		const key = JSON.stringify([component, rank, alpha, rsLora]);
		groups.set(key, { component, rank, alpha, rsLora, modules: (groups.get(key)?.modules ?? 0) + 1 });
	}
	return [...groups.values()].sort((a, b) => b.modules - a.modules);
}
