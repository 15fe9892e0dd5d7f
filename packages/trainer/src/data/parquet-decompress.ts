import { FormatError } from '@lorakit/format';
import { brokenParquet, unreadParquet } from './parquet-error.js';
import { MAX_PAGE_BYTES, MAX_PAGE_RATIO, PAGE_RATIO_FLOOR_BYTES } from './parquet-limits.js';
import { unpackSnappy } from './parquet-snappy.js';
import { unpackZstd } from './parquet-zstd.js';

/**
 * Refuse a page that is too large, packed or unpacked, or that would grow as no writer's page does.
 * @throws {FormatError} `E_LIMIT`, `E_PARQUET` for a negative size
 */
export function checkPageSizes(file: string, packed: number, unpacked: number): void {
	if (packed < 0 || unpacked < 0) throw brokenParquet(file, `a page has ${Math.min(packed, unpacked)} bytes`);
	const most = Math.min(MAX_PAGE_BYTES, Math.max(PAGE_RATIO_FLOOR_BYTES, packed * MAX_PAGE_RATIO));
	if (packed <= MAX_PAGE_BYTES && unpacked <= most) return;
	throw new FormatError(
		'E_LIMIT',
		`${file}: a page of ${packed} bytes would unpack to ${unpacked}; the limits are ${MAX_PAGE_BYTES} bytes and ${MAX_PAGE_RATIO} times the packed size: write the file again with smaller pages.`,
	);
}

/**
 * The bytes of a page (or of the values of one). Sizes were checked by `checkPageSizes`.
 * @param codec as hyparquet names it: `UNCOMPRESSED`, `SNAPPY`, `ZSTD`
 * @throws {FormatError} `E_PARQUET`
 */
export async function unpackPage(file: string, codec: string, packed: Uint8Array, expected: number): Promise<Uint8Array> {
	switch (codec) {
		case 'UNCOMPRESSED':
			if (packed.byteLength !== expected) {
				throw brokenParquet(file, `a page has ${packed.byteLength} bytes where its header says ${expected}`);
			}
			return packed;
		case 'SNAPPY':
			return unpackSnappy(file, packed, expected);
		case 'ZSTD':
			return await unpackZstd(file, packed, expected);
		default:
			throw unreadParquet(file, `a column is packed with ${codec}`, 'write it again with snappy, zstd or no compression');
	}
}
