import fs from 'node:fs';
import path from 'node:path';
import type { TrainingResult } from '../../../src/io/result/save-result.js';
import { adapterMetadata } from '../../../src/result/adapter-metadata.js';
import { modelCard } from '../../../src/result/model-card.js';
import { planResult, type ResultOptions } from '../../../src/result/plan-result.js';
import { trainedAdapter } from '../../../src/result/trained-adapter.js';
import type { TrainingFacts } from '../../../src/result/training-facts.js';
import { trainingRecord } from '../../../src/result/training-record.js';
import { attentionOf, NARROW, someFacts } from '../../result/support.js';

export { refusal, tempDir } from '../../../../runtime/test/io/hub/support.js';

/** A small result: an adapter, a token, a card, a picture. */
export function someResult(options: ResultOptions = {}, changes: Partial<TrainingFacts> = {}): TrainingResult {
	const facts = someFacts(changes);
	const { modules, tensors } = attentionOf(NARROW, 2);
	const rows = { name: 'added_rows', group: 'tokens', shape: [1, 12], values: new Float32Array(12).fill(0.5) } as const;
	const metadata = adapterMetadata(facts, { modules }, tensors);
	const tokens = [{ token: '<s1>', vectors: 1 }];
	const plan = planResult(trainedAdapter([...tensors, rows], { name: 'some', architecture: 'sd1', modules, tokens, metadata }), options);
	const samples = [{ path: 'samples/0.png', prompt: 'a star' }];
	return {
		plan,
		card: modelCard({ facts, modules, plan, samples }),
		record: trainingRecord(facts, modules),
		samples: new Map([['samples/0.png', new Uint8Array([137, 80, 78, 71])]]),
	};
}

/** Every file below a folder with its bytes. */
export function contents(root: string): Record<string, string> {
	const out: Record<string, string> = {};
	for (const entry of fs.readdirSync(root, { recursive: true, withFileTypes: true })) {
		const file = path.join(entry.parentPath, entry.name);
		if (entry.isFile()) out[path.relative(root, file).split(path.sep).join('/')] = fs.readFileSync(file, 'base64');
	}
	return Object.fromEntries(Object.entries(out).sort(([a], [b]) => (a < b ? -1 : 1)));
}
