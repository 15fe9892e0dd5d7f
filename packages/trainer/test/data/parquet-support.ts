import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { bytesSource } from '@lorakit/format';
import { openFileSource } from '@lorakit/format/node';
import type { Dataset } from '../../src/data/dataset.js';
import { openParquetDataset, type ParquetDatasetOptions, type PictureInspector } from '../../src/data/parquet-dataset.js';

export { refusal } from '../../../runtime/test/io/hub/support.js';

const FOLDER = new URL('../../../../fixtures/training/parquet/', import.meta.url);

export function parquetFixture(name: string): Uint8Array {
	return new Uint8Array(fs.readFileSync(new URL(`${name}.parquet`, FOLDER)));
}

/** What pyarrow reads: SHA-256 of the picture and captions, row by row. */
export const ROWS: Readonly<Record<string, readonly (readonly [sha256: string | null, captions: unknown])[]>> = JSON.parse(
	fs.readFileSync(new URL('rows.json', FOLDER), 'utf8'),
);

/** What Arrow's codecs make of the bytes `(i % 1000) ** 2 >> 7`. */
export const FRAMES: readonly { readonly codec: string; readonly length: number; readonly base64: string }[] = JSON.parse(
	fs.readFileSync(new URL('frames.json', FOLDER), 'utf8'),
);

/** The header of a PNG, by its specification: all pictures of the fixtures are PNGs. */
export const inspectPng: PictureInspector = async (name, bytes) => {
	const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
	if (bytes.byteLength < 24 || view.getUint32(0) !== 0x89504e47) return { name, reason: 'not-a-picture', message: `${name} is no PNG.` };
	return { width: view.getUint32(16), height: view.getUint32(20) };
};

export function openBytes(bytes: Uint8Array, options: Partial<ParquetDatasetOptions> = {}, name = 'a.parquet'): Promise<Dataset> {
	return openParquetDataset([{ name, source: bytesSource(bytes, name) }], { inspect: inspectPng, ...options });
}

export async function openFixture(name: string, options: Partial<ParquetDatasetOptions> = {}): Promise<Dataset> {
	const file = new URL(`${name}.parquet`, FOLDER);
	const source = await openFileSource(file.pathname, { name: `${name}.parquet` });
	return await openParquetDataset([{ name: `${name}.parquet`, source }], { inspect: inspectPng, ...options });
}

export function sha256(bytes: Uint8Array): string {
	return createHash('sha256').update(bytes).digest('hex');
}
