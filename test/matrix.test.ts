import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';

interface MatrixModule {
	readonly MATRIX_FILE: string;
	makeMatrix(): Promise<{ readonly text: string; readonly failures: readonly string[] }>;
}

it('docs/matrix.md is what the conversions do today (node scripts/parity/matrix.mjs writes it)', async () => {
	const script: string = '../scripts/parity/matrix.mjs';
	const { makeMatrix, MATRIX_FILE } = (await import(script)) as MatrixModule;
	const { text, failures } = await makeMatrix();
	expect(failures).toEqual([]);
	expect(text).toBe(readFileSync(MATRIX_FILE, 'utf8'));
}, 400_000);
