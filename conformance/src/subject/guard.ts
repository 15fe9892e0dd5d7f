import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';

interface Stamp {
	readonly kind: 'file' | 'folder' | 'link' | 'other';
	/** Changes with every write, chmod or rename; cannot be set by a program. */
	readonly ctime: bigint;
	readonly size: bigint;
	readonly hash: string | undefined;
}

/** Folders that tools fill beside any program that runs. */
const PASSED_OVER: ReadonlySet<string> = new Set(['.git', 'node_modules', '__pycache__', '.cache', 'coverage', '.turbo']);

const MAX_ENTRIES = 20_000;

/** Notices changes below some folders: a stamp of every entry, and the hash where the stamp has moved. */
export class Guard {
	private readonly roots: readonly string[];
	private stamps: Map<string, Stamp>;

	/** Takes the first look, hashes included. @param roots folders; those that are not there are left out */
	constructor(roots: readonly string[]) {
		this.roots = roots.filter((root) => fs.existsSync(root)).map((root) => fs.realpathSync(root));
		this.stamps = this.look(undefined);
	}

	/** Paths that are new, gone or changed since the last look; that look is then the one to compare with. */
	changes(): readonly string[] {
		const before = this.stamps;
		const now = this.look(before);
		const out: string[] = [];
		for (const [file, stamp] of now) {
			const old = before.get(file);
			if (old === undefined) out.push(file);
			else if (stamp.kind !== old.kind || (stamp.kind !== 'folder' && stamp.hash !== old.hash)) out.push(file);
		}
		for (const file of before.keys()) if (!now.has(file)) out.push(file);
		this.stamps = now;
		return out.sort();
	}

	/** A file that the runner itself put there, with the hash that it must have; the folders above it too. */
	adopt(file: string, root: string, hash: string | undefined): void {
		const real = fs.realpathSync(root);
		let at = path.join(real, path.relative(root, file));
		const stamp = stampOf(at, undefined, hash);
		if (stamp !== undefined) this.stamps.set(at, stamp);
		for (at = path.dirname(at); at.length > real.length; at = path.dirname(at)) {
			const folder = stampOf(at, undefined);
			if (folder !== undefined) this.stamps.set(at, folder);
		}
	}

	private look(before: ReadonlyMap<string, Stamp> | undefined): Map<string, Stamp> {
		const out = new Map<string, Stamp>();
		const folders = [...this.roots];
		while (folders.length > 0 && out.size < MAX_ENTRIES) {
			const folder = folders.pop() ?? '';
			let names: string[];
			try {
				names = fs.readdirSync(folder);
			} catch {
				continue;
			}
			for (const name of names) {
				if (PASSED_OVER.has(name)) continue;
				const file = path.join(folder, name);
				const stamp = stampOf(file, before?.get(file));
				if (stamp === undefined) continue;
				out.set(file, stamp);
				if (stamp.kind === 'folder') folders.push(file);
			}
		}
		return out;
	}
}

/** @param known the hash, where it is known without reading */
function stampOf(file: string, old: Stamp | undefined, known?: string): Stamp | undefined {
	const stat = fs.lstatSync(file, { bigint: true, throwIfNoEntry: false });
	if (stat === undefined) return undefined;
	const { ctimeNs: ctime, size } = stat;
	const kind = stat.isFile() ? 'file' : stat.isDirectory() ? 'folder' : stat.isSymbolicLink() ? 'link' : 'other';
	if (old !== undefined && old.kind === kind && old.ctime === ctime && old.size === size) return old;
	return { kind, ctime, size, hash: known ?? hashOf(file, kind) };
}

function hashOf(file: string, kind: Stamp['kind']): string | undefined {
	try {
		if (kind === 'link') return fs.readlinkSync(file);
		return kind === 'file' ? createHash('sha256').update(fs.readFileSync(file)).digest('hex') : undefined;
	} catch {
		return 'unreadable';
	}
}
