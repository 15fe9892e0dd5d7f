import fs from 'node:fs';

/** One living process as /proc tells it. */
interface ProcessRow {
	readonly pid: number;
	readonly group: number;
	/** Clock ticks since boot: tells a pid from its later namesake. */
	readonly started: string;
	/** Resident bytes. */
	readonly resident: number;
	readonly zombie: boolean;
}

/** Environment variable that every process of one subject inherits; finds those that left the process group. */
export const MARK = 'LORA_CONFORMANCE_SUBJECT';

const PAGE = 4096;

/** True where processes can be looked at (Linux). */
export const CAN_POLL: boolean = fs.existsSync('/proc/self/stat');

/**
 * Processes of subjects: those of a process group, and those that carry the subject's mark in their environment
 * (a child that called setsid has left the group but not its environment).
 */
export class ProcessTable {
	/** pid:started -> mark, read once for each process. */
	private readonly marks: Map<string, string | undefined> = new Map();

	/** All members of a subject now. Empty where /proc is not there. */
	members(group: number, mark: string): readonly ProcessRow[] {
		return this.rows().filter((row) => !row.zombie && (row.group === group || this.markOf(row) === mark));
	}

	/** Resident bytes of all members together. */
	resident(group: number, mark: string): number {
		return this.members(group, mark).reduce((sum, row) => sum + row.resident, 0);
	}

	/** SIGKILL for the group and every marked process, again until none is left (a fork may be faster than one look). */
	async kill(group: number, mark: string): Promise<void> {
		for (let round = 0; round < 50; round++) {
			try {
				process.kill(-group, 'SIGKILL');
			} catch {
				// the group is empty
			}
			const left = this.members(group, mark).filter((row) => row.pid !== process.pid);
			if (left.length === 0) return;
			for (const { pid } of left) {
				try {
					process.kill(pid, 'SIGKILL');
				} catch {
					// gone since the look
				}
			}
			await new Promise((done) => setTimeout(done, 5));
		}
	}

	private rows(): readonly ProcessRow[] {
		if (!CAN_POLL) return [];
		const rows: ProcessRow[] = [];
		for (const name of fs.readdirSync('/proc')) {
			const pid = Number(name);
			if (!Number.isInteger(pid)) continue;
			const row = readRow(pid);
			if (row !== undefined) rows.push(row);
		}
		return rows;
	}

	private markOf(row: ProcessRow): string | undefined {
		const key = `${row.pid}:${row.started}`;
		if (this.marks.has(key)) return this.marks.get(key);
		if (this.marks.size > 20_000) this.marks.clear();
		const mark = readMark(row.pid);
		// A process between fork and exec may not show its environment yet: ask again next time.
		if (mark !== undefined || row.resident > 0) this.marks.set(key, mark);
		return mark;
	}
}

function readRow(pid: number): ProcessRow | undefined {
	let stat: string;
	try {
		stat = fs.readFileSync(`/proc/${pid}/stat`, 'latin1');
	} catch {
		return undefined;
	}
	// The name stands in parentheses and may hold anything.
	const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
	return {
		pid,
		group: Number(fields[2]),
		started: fields[19] ?? '',
		resident: Number(fields[21]) * PAGE,
		zombie: fields[0] === 'Z' || fields[0] === 'X',
	};
}

function readMark(pid: number): string | undefined {
	try {
		const environment = fs.readFileSync(`/proc/${pid}/environ`, 'latin1');
		const found = environment.split('\0').find((entry) => entry.startsWith(`${MARK}=`));
		return found?.slice(MARK.length + 1);
	} catch {
		return undefined;
	}
}
