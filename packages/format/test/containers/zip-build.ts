import { deflateRawSync } from 'node:zlib';

/** One entry of a test archive; every field of both headers can lie. */
export interface Lie {
	readonly name: string;
	readonly data: Uint8Array;
	readonly method?: number;
	readonly raw?: Uint8Array;
	readonly flags?: number;
	readonly crc?: number;
	readonly size?: number;
	readonly compressed?: number;
	readonly localName?: string;
	readonly localFlags?: number;
	readonly localMethod?: number;
	readonly localSize?: number;
	readonly localCrc?: number;
	readonly extra?: readonly number[];
	readonly localExtra?: readonly number[];
	readonly descriptor?: 'none' | 'plain' | 'wrong';
	readonly attributes?: number;
	/** Bytes put behind the entry that nothing accounts for. */
	readonly gap?: number;
}

export interface EndLie {
	readonly prefix?: number;
	readonly suffix?: number;
	readonly comment?: string;
	readonly count?: number;
	readonly directoryOffset?: number;
	readonly disk?: number;
}

/** A zip archive byte by byte; the CRC is computed bit by bit, independently of the code under test. */
export function buildZip(entries: readonly Lie[], end: EndLie = {}): Uint8Array {
	const out: number[] = new Array(end.prefix ?? 0).fill(7);
	const directory: number[] = [];
	for (const e of entries) {
		const method = e.method ?? 0;
		const raw = e.raw ?? (method === 8 ? new Uint8Array(deflateRawSync(e.data)) : e.data);
		const described = (e.descriptor ?? 'none') !== 'none';
		const flags = e.flags ?? (described ? 8 : 0);
		const crc = e.crc ?? slowCrc(e.data);
		const size = e.size ?? e.data.length;
		const compressed = e.compressed ?? raw.length;
		const name = text(e.name);
		const localName = text(e.localName ?? e.name);
		const at = out.length;
		const localExtra = e.localExtra ?? e.extra ?? [];
		out.push(...u32(0x04034b50), ...u16(20), ...u16(e.localFlags ?? flags), ...u16(e.localMethod ?? method), ...u32(0x00210000));
		out.push(
			...u32(described ? 0 : (e.localCrc ?? crc)),
			...u32(described ? 0 : compressed),
			...u32(described ? 0 : (e.localSize ?? size)),
		);
		out.push(...u16(localName.length), ...u16(localExtra.length), ...localName, ...localExtra);
		// One by one: megabytes do not fit into a call.
		for (const byte of raw) out.push(byte);
		if (described) out.push(...u32(0x08074b50), ...u32(e.descriptor === 'wrong' ? crc ^ 1 : crc), ...u32(compressed), ...u32(size));
		out.push(...new Array(e.gap ?? 0).fill(0));
		const extra = e.extra ?? [];
		directory.push(...u32(0x02014b50), ...u16(0x031e), ...u16(20), ...u16(flags), ...u16(method), ...u32(0x00210000), ...u32(crc));
		directory.push(...u32(compressed), ...u32(size), ...u16(name.length), ...u16(extra.length), ...u16(0), ...u16(0), ...u16(0));
		directory.push(...u32(e.attributes ?? 0), ...u32(at), ...name, ...extra);
	}
	const start = out.length;
	const comment = text(end.comment ?? '');
	const count = u16(end.count ?? entries.length);
	out.push(...directory, ...u32(0x06054b50), ...u16(end.disk ?? 0), ...u16(0), ...count, ...count, ...u32(directory.length));
	out.push(...u32(end.directoryOffset ?? start), ...u16(comment.length), ...comment, ...new Array(end.suffix ?? 0).fill(0));
	return Uint8Array.from(out);
}

/** CRC-32 one bit at a time. */
export function slowCrc(bytes: Uint8Array): number {
	let crc = 0xffffffff;
	for (const byte of bytes) {
		crc ^= byte;
		for (let k = 0; k < 8; k++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
	}
	return ~crc >>> 0;
}

export function text(value: string): number[] {
	return [...new TextEncoder().encode(value)];
}

export function u16(value: number): number[] {
	return [value & 255, (value >>> 8) & 255];
}

export function u32(value: number): number[] {
	return [...u16(value), ...u16(value >>> 16)];
}
