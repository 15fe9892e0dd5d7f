import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { errnoOf } from '@lorakit/format/node';
import { PARTIAL_STALE_MS } from './hub-limits.js';

/** Partial files that this process is writing. */
const active = new Set<string>();

/**
 * A file for the bytes of a blob that is being fetched, this process's alone: one that an earlier process left, with its
 * bytes, or a name for a new one. Its name, `ETAG.HOST.PID.RANDOM.incomplete`, says who writes it; a shared name would let
 * two processes write into one file. (huggingface_hub >= 1 has such names for that reason and starts anew each time; its
 * older `ETAG.incomplete` is left alone.) Taking over is a rename, which only one process can win.
 *
 * @returns the path; it exists when something was taken over
 */
export function claimPartial(blob: string): string {
	const own = `${blob}.${hostTag()}.${process.pid}.${Math.random().toString(16).slice(2, 10).padEnd(8, '0')}.incomplete`;
	for (const left of leftBy(blob)) {
		try {
			fs.renameSync(left, own);
			break;
		} catch {
			// Another process was quicker.
		}
	}
	active.add(own);
	return own;
}

/** Stop writing: the file may be taken over, by this process too. */
export function releasePartial(file: string): void {
	active.delete(file);
}

/** Partial files of the blob that nobody is writing, the largest first. */
function leftBy(blob: string): string[] {
	const start = `${path.basename(blob)}.`;
	const folder = path.dirname(blob);
	const found: { file: string; size: number }[] = [];
	for (const name of fs.readdirSync(folder)) {
		const match = name.startsWith(start) ? /^([0-9a-f]{8})\.(\d{1,10})\.[0-9a-f]{8}\.incomplete$/.exec(name.slice(start.length)) : null;
		if (match === null) continue;
		const file = path.join(folder, name);
		const stat = fs.lstatSync(file, { throwIfNoEntry: false });
		if (stat?.isFile() !== true || active.has(file)) continue;
		const dead = match[1] === hostTag() && !isAlive(Number(match[2]));
		if (dead || Date.now() - stat.mtimeMs > PARTIAL_STALE_MS) found.push({ file, size: stat.size });
	}
	return found.sort((a, b) => b.size - a.size).map(({ file }) => file);
}

/** False for this process: what it is writing is in `active`. */
function isAlive(pid: number): boolean {
	if (pid === process.pid) return false;
	try {
		process.kill(pid, 0);
		return true;
	} catch (error) {
		return errnoOf(error) !== 'ESRCH';
	}
}

/** A number is a process only on its own machine; caches are shared over networks. */
function hostTag(): string {
	return process.getBuiltinModule('node:crypto').createHash('sha256').update(os.hostname()).digest('hex').slice(0, 8);
}
