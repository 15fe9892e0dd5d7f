import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { safetensors } from './safetensors.js';

/** A suite of L0 cases `L0/open/NAME`, one tensor each: for tests of the protocol. */
export function writeOpenSuite(dir: string, names: readonly string[]): void {
	fs.mkdirSync(path.join(dir, 'files'), { recursive: true });
	const files: Record<string, unknown> = {};
	const cases = names.map((name, index) => {
		const values = [index, index + 0.5];
		const bytes = safetensors({ x: { shape: [2], values } });
		const file = `files/${name}.safetensors`;
		fs.writeFileSync(path.join(dir, file), bytes);
		files[file] = { sha256: createHash('sha256').update(bytes).digest('hex'), bytes: bytes.byteLength, made: 'test' };
		const sha256 = createHash('sha256')
			.update(Buffer.from(Float32Array.from(values).buffer))
			.digest('hex');
		return {
			id: `L0/open/${name}`,
			title: `Open ${name}`,
			level: 'L0',
			since: '1.0.0',
			tags: [],
			source: [{ url: 'https://example.org', says: 'test' }],
			reference: { rule: 'bytes' },
			request: { op: 'open', file },
			expect: { tensors: { x: { dtype: 'F32', shape: [2], sha256 } } },
			provenance: { script: 'test' },
		};
	});
	fs.writeFileSync(path.join(dir, 'manifest.json'), JSON.stringify({ suite: '1.0.0', files }));
	fs.writeFileSync(path.join(dir, 'open.json'), JSON.stringify(cases));
}
