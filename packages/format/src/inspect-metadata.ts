import type { Adapter } from './adapter.js';
import { recordedHashes } from './hashes/file-hashes.js';
import { EMPTY_SHA256 } from './hashes/hasher.js';
import type { InspectFinding, InspectReport } from './inspect-types.js';
import { cardFacts } from './metadata/card.js';
import { type KohyaSs, readKohyaSs } from './metadata/kohya-ss.js';
import { readModelSpec } from './metadata/modelspec.js';
import { ssResolution } from './metadata/ss-values.js';
import { topTags, triggerWords } from './metadata/trigger-words.js';

/** The parts of a report that come from the header. */
export type MetadataSummary = Pick<InspectReport, 'triggerWords' | 'tags' | 'resolution' | 'training' | 'hashes' | 'metadata'> & {
	readonly warnings: readonly InspectFinding[];
};

/** Read the header of a file for people. `embeddings` give their tokens as trigger words. */
export function summariseMetadata(
	metadata: ReadonlyMap<string, string>,
	embeddings: Adapter['embeddings'],
	tagLimit: number,
): MetadataSummary {
	const ss = readKohyaSs(metadata);
	const warnings: InspectFinding[] = ss.broken.map((key) => ({
		code: 'W_METADATA_PARSE',
		message: `${key} should be JSON and cannot be read; it is carried as it stands.`,
		at: key,
	}));
	return {
		triggerWords: triggerWords(metadata, embeddings, ss),
		tags: topTags(ss, tagLimit),
		resolution: ss.resolution ?? ssResolution(metadata.get('modelspec.resolution')) ?? null,
		training: trainingFacts(metadata, ss),
		hashes: recordedHashes(metadata)
			.filter(([, value]) => value !== EMPTY_SHA256)
			.map(([kind, value]) => ({ kind, value, from: 'metadata' as const })),
		metadata: [...metadata].map(([key, value]) => ({ key, characters: value.length })),
		warnings,
	};
}

function trainingFacts(metadata: ReadonlyMap<string, string>, ss: KohyaSs): InspectReport['training'] {
	const facts: { fact: string; value: string }[] = [];
	const put = (fact: string, value: string | number | boolean | undefined): void => {
		if (value !== undefined && value !== '') facts.push({ fact, value: String(value) });
	};
	const card = cardFacts(metadata);
	const spec = readModelSpec(metadata);
	put('title', card.title);
	put('author', card.author);
	put('license', card.license);
	put('description', card.description);
	put('trained with', card.software);
	put('network module', ss.networkModule);
	put('base checkpoint', card.baseModel);
	put('base version', ss.baseModelVersion);
	put('architecture', spec.fields.get('architecture'));
	put('steps', ss.steps);
	put('epochs', ss.epochs ?? ss.epoch);
	put('images', ss.trainImages);
	put('batch size', ss.batchSize);
	put('learning rate', ss.learningRate);
	put('UNet learning rate', ss.unetLearningRate);
	put('text encoder learning rate', ss.textEncoderLearningRate);
	put('optimizer', ss.optimizer);
	put('scheduler', ss.scheduler);
	put('seed', ss.seed);
	put('clip skip', ss.clipSkip);
	put('mixed precision', ss.mixedPrecision);
	put('noise offset', ss.noiseOffset);
	put('min SNR gamma', ss.minSnrGamma);
	if (ss.finishedAt !== undefined && ss.finishedAt > 0 && ss.finishedAt < 4e9)
		put('finished', new Date(ss.finishedAt * 1000).toISOString());
	return facts;
}
