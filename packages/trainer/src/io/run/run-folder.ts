import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { FormatError } from '@lorakit/format';
import { errnoOf, quotePath, writeError } from '@lorakit/format/node';
import { stepOfName } from '../../run/checkpoint-record.js';

/** The folder of a run, ours while it is open. */
export interface RunFolder {
	readonly folder: string;
	/** Let others have it. */
	close(): void;
}

export const LOCK_NAME = 'run.lock';
/** Folder of the first phase of pivotal tuning below the run's, with checkpoints and a log of its own. */
export const INVERSION_FOLDER = 'inversion';

/** Locks of this very process: in a container the number of a dead one is often our own. */
const held = new Set<string>();

/**
 * Open (make) the folder of a run. One process at a time: `run.lock` holds its number, and one that is left by a process
 * that is gone is taken over. What a killed process left half-written is removed.
 * @throws {FormatError} `E_USAGE` when another process trains there, `E_IO`
 */
export function openRunFolder(folder: string): RunFolder {
	try {
		fs.mkdirSync(folder, { recursive: true });
	} catch (error) {
		throw writeError(error, folder);
	}
	const lock = path.join(folder, LOCK_NAME);
	const own = `${process.pid} ${os.hostname()}\n`;
	for (let attempt = 0; ; attempt++) {
		try {
			fs.writeFileSync(lock, own, { flag: 'wx' });
			held.add(path.resolve(lock));
			break;
		} catch (error) {
			if (errnoOf(error) !== 'EEXIST' || attempt > 3) throw writeError(error, lock);
			const holder = holderOf(lock);
			if (holder !== undefined) {
				throw new FormatError(
					'E_USAGE',
					`${quotePath(folder)} is in use by process ${holder}; wait for it, choose another folder, or remove ${quotePath(lock)} if that is no training.`,
				);
			}
			fs.rmSync(lock, { force: true });
		}
	}
	sweep(folder);
	const close = (): void => {
		process.removeListener('exit', close);
		held.delete(path.resolve(lock));
		try {
			if (fs.readFileSync(lock, 'utf8') === own) fs.rmSync(lock, { force: true });
		} catch {
			// Gone already, with its folder perhaps.
		}
	};
	process.once('exit', close);
	return { folder, close };
}

/** Who holds a lock; undefined where nobody does any more. */
function holderOf(lock: string): string | undefined {
	let text: string;
	try {
		text = fs.readFileSync(lock, 'utf8');
	} catch {
		return undefined;
	}
	const found = /^(\d+) (.*)\n$/.exec(text);
	if (found === null) return undefined;
	const [, pid = '', host = ''] = found;
	// On another machine of a shared file system nobody can be asked.
	if (host !== os.hostname()) return `${pid} on ${host}`;
	if (Number(pid) === process.pid) return held.has(path.resolve(lock)) ? pid : undefined;
	try {
		process.kill(Number(pid), 0);
		return pid;
	} catch (error) {
		return errnoOf(error) === 'EPERM' ? pid : undefined;
	}
}

/** Remove what was being written, or taken away, when a process was killed: `.checkpoint-NNNNNN.RANDOM.tmp` and `.old`. */
function sweep(folder: string): void {
	for (const name of fs.readdirSync(folder)) {
		const found = /^\.(checkpoint-\d+)\.[a-z0-9]+\.(tmp|old)$/.exec(name);
		if (found === null || stepOfName(found[1] ?? '') === undefined) continue;
		fs.rmSync(path.join(folder, name), { recursive: true, force: true });
	}
}
