import { crc32 } from '@lorakit/format';
import { joined } from './protobuf.js';

/**
 * The file of an offline run of Weights & Biases: LevelDB's log format (google/leveldb doc/log_format.md) with a header of its own
 * and CRC-32 in place of CRC-32C (wandb/wandb wandb/sdk/internal/datastore.py). A record is cut where a block of 32 KiB ends.
 */
const BLOCK = 32_768;
const HEADER = 7;
const FULL = 1;
const FIRST = 2;
const MIDDLE = 3;
const LAST = 4;

/** `:W&B`, 0xBEE1, version 0. */
export const WANDB_HEADER: Uint8Array = Uint8Array.of(0x3a, 0x57, 0x26, 0x42, 0xe1, 0xbe, 0);

/** The bytes of a record that begins at a place of the file. */
export function wandbRecordBytes(data: Uint8Array, position: number): Uint8Array {
	const parts: Uint8Array[] = [];
	let at = position;
	let done = 0;
	// A record without bytes is one piece, too.
	for (let ends = false; !ends; ) {
		const space = BLOCK - (at % BLOCK);
		if (space < HEADER) {
			parts.push(new Uint8Array(space));
			at += space;
			continue;
		}
		const piece = data.subarray(done, done + space - HEADER);
		ends = done + piece.byteLength === data.byteLength;
		parts.push(chunk(done === 0 ? (ends ? FULL : FIRST) : ends ? LAST : MIDDLE, piece), piece);
		at += HEADER + piece.byteLength;
		done += piece.byteLength;
	}
	return joined(parts);
}

function chunk(type: number, data: Uint8Array): Uint8Array {
	const header = new Uint8Array(HEADER);
	const view = new DataView(header.buffer);
	view.setUint32(0, crc32(joined([Uint8Array.of(type), data])), true);
	view.setUint16(4, data.byteLength, true);
	view.setUint8(6, type);
	return header;
}
