import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { locateLayers } from '../diagnose/locate-layer.js';
import { some } from '../judge/verdict.js';
import type { Started } from '../subject/answer.js';
import { Guard } from '../subject/guard.js';
import { ProcessTable } from '../subject/process-table.js';
import { findIsolation, type Isolation } from '../subject/sandbox.js';
import type { SubjectLimits } from '../subject/subject-process.js';
import type { Case, Profile } from '../suite/case.js';
import { OWN_PACKAGE, type Suite } from '../suite/load-suite.js';
import { evaluate } from './evaluate.js';
import { asLostFiles } from './lost-files-error.js';
import type { CaseResult } from './result.js';
import { Slot, type Tried } from './slot.js';

export interface RunOptions {
	readonly suite: Suite;
	/** Cases to ask, in the suite's order. */
	readonly cases: readonly Case[];
	/** Command line of the subject, for /bin/sh. */
	readonly command: string;
	readonly profile?: Profile | undefined;
	readonly jobs: number;
	readonly limits: SubjectLimits;
	readonly isolation: 'auto' | Isolation;
	/** More folders that nobody may write in. */
	readonly guards?: readonly string[] | undefined;
	/** Told of every case that was asked while its folder is still there: `repro` copies it. */
	readonly keep?: ((tried: Tried, result: CaseResult) => void) | undefined;
	readonly onResult?: ((result: CaseResult, done: number) => void) | undefined;
	/** Aborted: the subject is ended and the run throws. */
	readonly signal?: AbortSignal | undefined;
}

/** All results, in the suite's order, and what the subject said of itself. */
export interface RunOutcome {
	readonly started: Started;
	readonly isolation: Isolation;
	readonly results: readonly CaseResult[];
	/** Milliseconds by case id: kept apart, because they are never the same twice. */
	readonly times: ReadonlyMap<string, number>;
	/** Written where nobody may, by a case that did not do it again when it was asked alone: the run fails. */
	readonly outside: readonly string[];
	/** How often a subject had to be started again. */
	readonly restarts: number;
}

/** The subject gave no valid answer to `start`: exit code 3. */
export class SubjectError extends Error {
	override readonly name: string = 'SubjectError';
}

const UNPROTECTED =
	'Without bubblewrap a subject can remove what is not its own: restore the suite, install bubblewrap, and look at what the subject removes.';
const PROTECTED = 'The subject cannot do that behind bubblewrap: another program removed it. Restore the suite and run again.';

/** After so many faults in a row without one answer the rest is not asked: a dead subject would take hours. */
const HOPELESS = 10;

/** Before the look after a suspect's case. */
const GRACE_MS = 150;

/** Cases of one worker between two looks at the guarded folders: a look costs some hundred system calls. */
const LOOK_EVERY = 25;

/**
 * Ask every case, `jobs` at a time, each worker with its own process.
 * @throws {SubjectError} when the subject cannot be started at all.
 * @throws {LostFilesError} when files of the suite or of the run vanish while it lasts.
 */
export async function runSuite(options: RunOptions): Promise<RunOutcome> {
	const isolation = findIsolation(options.isolation);
	const root = fs.mkdtempSync(path.join(os.tmpdir(), 'lora-conformance-'));
	try {
		return await new SuiteRun(options, isolation, root).run();
	} finally {
		fs.rmSync(root, { recursive: true, force: true });
	}
}

class SuiteRun {
	private readonly options: RunOptions;
	private readonly isolation: Isolation;
	private readonly root: string;
	private readonly table: ProcessTable = new ProcessTable();
	private readonly results: Map<string, CaseResult> = new Map();
	private readonly times: Map<string, number> = new Map();
	private readonly inFlight: Set<string> = new Set();
	/** Cases that were asked, wholly or in part, since somebody last looked at the suite and this package. */
	private unchecked: Set<string> = new Set();
	/** Cases that ran while somebody wrote where nobody may: each is asked again, alone, with a look after each. */
	private readonly suspects: Set<string> = new Set();
	/** What was written while `suspects` ran. */
	private readonly outside: Set<string> = new Set();
	private blamed = false;
	private readonly guard: Guard | undefined;
	private judging: Promise<void> = Promise.resolve();
	private slots = 0;
	private restarts = 0;
	private faultsInRow = 0;

	constructor(options: RunOptions, isolation: Isolation, root: string) {
		this.options = options;
		this.isolation = isolation;
		this.root = root;
		const own = ['bin', 'dist', 'schema', 'harness'].map((name) => path.join(OWN_PACKAGE, name));
		// Behind bubblewrap there is nothing to look for.
		this.guard = isolation === 'hashes' ? new Guard([options.suite.dir, ...own, ...(options.guards ?? [])]) : undefined;
	}

	async run(): Promise<RunOutcome> {
		try {
			return await this.ask();
		} catch (error) {
			const lately = this.unchecked.size === 0 ? '' : ` Asked since all was there: ${some([...this.unchecked])}.`;
			throw asLostFiles(error, `${this.isolation === 'hashes' ? UNPROTECTED : PROTECTED}${lately}`);
		}
	}

	private async ask(): Promise<RunOutcome> {
		const { cases, jobs } = this.options;
		const first = this.newSlot();
		const opened = await first.open();
		if (opened.kind === 'fault') {
			await first.close();
			throw new SubjectError(`The subject did not start: ${opened.message}.${opened.stderr === '' ? '' : `\n${opened.stderr}`}`);
		}
		const queue = [...cases];
		// The first worker that cannot go on ends the others after their case, so that no subject outlives the run.
		const work = (slot: Slot): Promise<void> =>
			this.work(slot, queue, false).catch((error: unknown) => {
				queue.length = 0;
				throw error;
			});
		const workers = [work(first)];
		for (let n = 1; n < Math.min(jobs, cases.length); n++) workers.push(work(this.newSlot()));
		const ended = await Promise.allSettled(workers);
		for (const end of ended) if (end.status === 'rejected') throw end.reason;
		const again = cases.filter((c) => this.suspects.has(c.id));
		if (again.length > 0) await this.work(this.newSlot(), again, true);
		const results = locateLayers(
			this.options.suite.cases,
			cases.flatMap((c) => this.results.get(c.id) ?? []),
		);
		const outside = this.blamed ? [] : [...this.outside].sort();
		return { started: opened.answer, isolation: this.isolation, results, times: this.times, restarts: this.restarts, outside };
	}

	private newSlot(): Slot {
		const { suite, profile, command, limits } = this.options;
		const folder = path.join(this.root, `slot-${this.slots++}`);
		return new Slot({ suite, profile, folder, subject: { command, limits, isolation: this.isolation, table: this.table } });
	}

	private async work(slot: Slot, queue: Case[], alone: boolean): Promise<void> {
		const since: string[] = [];
		try {
			for (let entry = queue.shift(); entry !== undefined; entry = queue.shift()) {
				if (this.options.signal?.aborted === true) throw new Error('interrupted');
				await this.one(slot, entry, alone);
				if (!alone && since.push(entry.id) === LOOK_EVERY) this.look(slot, since);
			}
			if (!alone) this.look(slot, since);
		} finally {
			await slot.close();
		}
	}

	/** What was written outside makes every case that may have done it a suspect. @param since cases of this worker; emptied */
	private look(slot: Slot, since: string[]): void {
		const own = slot.strays();
		const shared = this.guard?.changes() ?? [];
		for (const file of [...own, ...shared]) this.outside.add(file);
		if (own.length > 0) {
			for (const id of since) this.suspects.add(id);
			slot.restore();
		}
		if (shared.length > 0) for (const id of this.unchecked) this.suspects.add(id);
		since.length = 0;
		this.unchecked = new Set(this.inFlight);
	}

	private async one(slot: Slot, entry: Case, alone: boolean): Promise<void> {
		const began = performance.now();
		if (this.faultsInRow >= HOPELESS) return this.done(entry, await evaluate(this.options, entry, undefined), began);
		const opened = await slot.open();
		const passed = opened.kind === 'answer' ? await evaluate(this.options, entry, { started: opened.answer }) : undefined;
		// Not asked: the subject says that it cannot, or the profile has no such case.
		if (passed !== undefined) return this.done(entry, passed, began);
		this.inFlight.add(entry.id);
		this.unchecked.add(entry.id);
		const tried = await slot.try(entry);
		this.inFlight.delete(entry.id);
		// Alone, a subject is given time to do what it does after its answer.
		if (alone) await new Promise((done) => setTimeout(done, GRACE_MS));
		const outside = alone ? [...slot.strays(tried.dir), ...(this.guard?.changes() ?? [])] : [];
		const fault = tried.asked.kind === 'fault';
		this.faultsInRow = fault ? this.faultsInRow + 1 : 0;
		if (fault) this.restarts++;
		if (outside.length > 0) this.blamed = true;
		const result = await this.alone(() => evaluate(this.options, entry, { started: tried.started, tried, outside }));
		if (result !== undefined) this.options.keep?.(tried, result);
		slot.clean(tried.dir);
		if (outside.length > 0) slot.restore();
		this.done(entry, result, began);
	}

	/** One judge at a time: they take the one thread that there is, and hold whole tensors. */
	private async alone<T>(work: () => Promise<T>): Promise<T> {
		const before = this.judging;
		let release = (): void => undefined;
		this.judging = new Promise((done) => {
			release = done;
		});
		await before;
		try {
			return await work();
		} finally {
			release();
		}
	}

	private done(entry: Case, result: CaseResult | undefined, began: number): void {
		if (result === undefined) return;
		this.results.set(entry.id, result);
		this.times.set(entry.id, performance.now() - began);
		this.options.onResult?.(result, this.results.size);
	}
}
