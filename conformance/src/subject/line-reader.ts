/** Why reading stopped for good. */
export type FloodReason = 'line too long' | 'too much output';

export interface LineReaderLimits {
	/** Bytes of one line. */
	readonly line: number;
	/** Bytes between two calls of `reset`. */
	readonly total: number;
}

/** Cuts a stream of bytes into lines, never holding more than one line's limit. */
export class LineReader {
	private readonly parts: Buffer[] = [];
	private held = 0;
	private total = 0;
	private stopped = false;
	private readonly limits: LineReaderLimits;
	private readonly onLine: (line: string) => void;
	private readonly onFlood: (reason: FloodReason) => void;

	constructor(limits: LineReaderLimits, onLine: (line: string) => void, onFlood: (reason: FloodReason) => void) {
		this.limits = limits;
		this.onLine = onLine;
		this.onFlood = onFlood;
	}

	/** Bytes that came without a newline behind them yet. */
	get pending(): number {
		return this.held;
	}

	/** A new case begins: the total starts anew. */
	reset(): void {
		this.total = 0;
	}

	push(chunk: Buffer): void {
		if (this.stopped) return;
		this.total += chunk.byteLength;
		if (this.total > this.limits.total) {
			this.flood('too much output');
			return;
		}
		let from = 0;
		for (let at = chunk.indexOf(10); at !== -1; at = chunk.indexOf(10, from)) {
			this.hold(chunk.subarray(from, at));
			if (this.stopped) return;
			from = at + 1;
			const line = Buffer.concat(this.parts, this.held).toString('utf8');
			this.parts.length = 0;
			this.held = 0;
			this.onLine(line);
		}
		this.hold(chunk.subarray(from));
	}

	private hold(part: Buffer): void {
		if (part.byteLength === 0) return;
		this.held += part.byteLength;
		if (this.held > this.limits.line) this.flood('line too long');
		else this.parts.push(part);
	}

	private flood(reason: FloodReason): void {
		this.stopped = true;
		this.parts.length = 0;
		this.onFlood(reason);
	}
}
