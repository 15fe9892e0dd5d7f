import { randomUUID } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import type { Answer, Started } from '../subject/answer.js';
import { Guard } from '../subject/guard.js';
import { type Asked, type SubjectOptions, SubjectProcess } from '../subject/subject-process.js';
import type { Case, Profile } from '../suite/case.js';
import { fileRefs, type Suite } from '../suite/load-suite.js';
import { buildRequest } from './build-request.js';

export interface SlotOptions {
	readonly suite: Suite;
	/** Folder of this slot, not there yet. */
	readonly folder: string;
	readonly profile: Profile | undefined;
	readonly subject: Omit<SubjectOptions, 'writable'>;
}

/** What came of asking one case, its folder still there. */
export interface Tried {
	readonly asked: Asked<Answer>;
	readonly started: Started | undefined;
	readonly dir: string;
}

/** One worker: a subject process, its copies of the input files, its case folders. */
export class Slot {
	private readonly options: SlotOptions;
	private readonly inputs: string;
	private readonly cases: string;
	private readonly copied: Set<string> = new Set();
	private readonly planted: string[] = [];
	/** `inputs` without links above it. */
	private readonly realInputs: string;
	private guard: Guard;
	private subject: SubjectProcess | undefined;
	private started: Started | undefined;
	private nextId = 0;

	constructor(options: SlotOptions) {
		this.options = options;
		this.inputs = path.join(options.folder, 'inputs');
		this.cases = path.join(options.folder, 'cases');
		fs.mkdirSync(this.inputs, { recursive: true });
		fs.mkdirSync(this.cases, { recursive: true });
		this.realInputs = fs.realpathSync(this.inputs);
		this.guard = new Guard([this.inputs]);
	}

	/** Start the subject if none is alive. */
	async open(): Promise<Asked<Started>> {
		if (this.subject?.alive === true && this.started !== undefined) return { kind: 'answer', answer: this.started, noise: 0 };
		await this.subject?.kill();
		const { suite, profile, subject } = this.options;
		this.subject = new SubjectProcess({ ...subject, writable: this.cases });
		const start = { id: this.nextId++, op: 'start', protocol: 1, suite: suite.version, ...(profile === undefined ? {} : { profile }) };
		const asked = await this.subject.start(start);
		this.started = asked.kind === 'answer' ? asked.answer : undefined;
		return asked;
	}

	/** Ask one case. The caller calls `clean` when it has looked at the folder. */
	async try(entry: Case): Promise<Tried> {
		const before = this.subject;
		const tried = await this.tryOnce(entry);
		if (tried.asked.kind !== 'fault' || tried.asked.fault !== 'crash' || this.subject !== before) return tried;
		// It may have died of the case before, after its answer: only what a new process dies of is this case's fault.
		this.clean(tried.dir);
		return await this.tryOnce(entry);
	}

	private async tryOnce(entry: Case): Promise<Tried> {
		const dir = path.join(this.cases, randomUUID());
		fs.mkdirSync(dir, { recursive: true });
		for (const ref of fileRefs(entry.request)) this.copy(ref);
		const opened = await this.open();
		if (opened.kind === 'fault' || this.subject === undefined) {
			const fault = opened.kind === 'fault' ? opened : undefined;
			const message = `the subject could not be started: ${fault?.message ?? ''}`;
			return { asked: { kind: 'fault', fault: fault?.fault ?? 'crash', message, stderr: fault?.stderr ?? '' }, started: undefined, dir };
		}
		const asked = await this.subject.ask(buildRequest(entry, this.nextId++, dir, (ref) => path.join(this.inputs, ref)));
		// A dead subject must be wholly dead before its traces are looked for.
		if (asked.kind === 'fault') await this.subject.kill();
		return { asked, started: this.started, dir };
	}

	/** Throw away a case's folder. */
	clean(dir: string): void {
		fs.rmSync(dir, { recursive: true, force: true });
	}

	/** After a stray write: nothing of it is left. The folder of the cases itself stays, it may be mounted in the sandbox. */
	restore(): void {
		fs.mkdirSync(this.cases, { recursive: true });
		for (const name of fs.readdirSync(this.cases)) fs.rmSync(path.join(this.cases, name), { recursive: true, force: true });
		for (const name of this.beside()) fs.rmSync(path.join(this.options.folder, name), { recursive: true, force: true });
		fs.rmSync(this.inputs, { recursive: true, force: true });
		fs.mkdirSync(this.inputs);
		this.copied.clear();
		this.guard = new Guard([this.inputs]);
	}

	/** Copies of inputs that were changed, and files that appeared beside the case's folder. @param dir the case that runs */
	strays(dir?: string): readonly string[] {
		// The subject may have removed what it was given, its folder too.
		const gone = [this.inputs, this.cases].filter((folder) => !fs.existsSync(folder)).map((folder) => path.basename(folder));
		const others = list(this.cases).filter((name) => path.join(this.cases, name) !== dir);
		const changed = this.guard.changes().map((file) => path.relative(this.realInputs, file));
		return [...gone, ...this.beside(), ...others.map((name) => `../${name}`), ...this.planted.splice(0), ...changed];
	}

	private beside(): readonly string[] {
		return list(this.options.folder).filter((name) => name !== 'inputs' && name !== 'cases');
	}

	async close(): Promise<void> {
		await this.subject?.stop(this.nextId++);
		fs.rmSync(this.options.folder, { recursive: true, force: true });
	}

	private copy(ref: string): void {
		const target = path.join(this.inputs, ref);
		if (this.copied.has(target)) return;
		// Put there by the subject, to be taken for the runner's copy.
		if (fs.lstatSync(target, { throwIfNoEntry: false }) !== undefined) {
			this.planted.push(ref);
			fs.rmSync(target, { recursive: true, force: true });
		}
		fs.mkdirSync(path.dirname(target), { recursive: true });
		fs.copyFileSync(path.join(this.options.suite.dir, ref), target);
		this.guard.adopt(target, this.inputs, this.options.suite.files.get(ref)?.sha256);
		this.copied.add(target);
	}
}

/** Names in a folder; none where it is not there any more. */
function list(folder: string): readonly string[] {
	return fs.existsSync(folder) ? fs.readdirSync(folder) : [];
}
