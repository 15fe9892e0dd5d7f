import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { type Answer, asFields, parseAnswer, parseStarted, type Started, tame } from './answer.js';
import { LineReader } from './line-reader.js';
import { CAN_POLL, MARK, type ProcessTable } from './process-table.js';
import { type Isolation, launchOf } from './sandbox.js';

/** Why a subject gave no answer. */
export type Fault = 'timeout' | 'memory' | 'crash' | 'protocol' | 'output';

/** What came of one request. */
export type Asked<T> =
	| { readonly kind: 'answer'; readonly answer: T; readonly noise: number }
	| { readonly kind: 'fault'; readonly fault: Fault; readonly message: string; readonly stderr: string };

export interface SubjectLimits {
	/** Milliseconds for one case. */
	readonly timeout: number;
	/** Milliseconds for the answer to `start`. */
	readonly startTimeout: number;
	/** Resident bytes of all processes. */
	readonly memory: number;
}

export interface SubjectOptions {
	readonly command: string;
	readonly isolation: Isolation;
	/** The folder that holds the case folders. */
	readonly writable: string;
	readonly limits: SubjectLimits;
	readonly table: ProcessTable;
}

const LINE_BYTES = 8 << 20;
const CASE_BYTES = 16 << 20;
const STDERR_KEPT = 64 << 10;
const STDERR_BYTES = 256 << 20;
const NOISE_LINES = 64;
const POLL_MS = 100;

/** One process of a subject: asked one thing at a time, dead after its first fault. */
export class SubjectProcess {
	private readonly child: ChildProcess;
	private readonly options: SubjectOptions;
	private readonly mark: string = randomUUID();
	private readonly reader: LineReader;
	private stderr: Buffer = Buffer.alloc(0);
	private stderrBytes = 0;
	private noise = 0;
	private wanted = -1;
	private settle: ((outcome: Asked<ReadonlyMap<string, unknown>>) => void) | undefined;
	private ended: string | undefined;
	private killed = false;
	private broken = false;

	constructor(options: SubjectOptions) {
		this.options = options;
		const { program, args } = launchOf(options.command, options.isolation, options.writable);
		this.child = spawn(program, [...args], {
			detached: true,
			stdio: ['pipe', 'pipe', 'pipe'],
			env: { ...process.env, [MARK]: this.mark, PYTHONDONTWRITEBYTECODE: '1' },
		});
		this.reader = new LineReader(
			{ line: LINE_BYTES, total: CASE_BYTES },
			(line) => this.onLine(line),
			(reason) => this.fail('output', `${reason}: an answer has at most 8 MiB, the output of a case at most 16 MiB`),
		);
		this.child.stdout?.on('data', (chunk: Buffer) => this.reader.push(chunk));
		this.child.stderr?.on('data', (chunk: Buffer) => this.onStderr(chunk));
		// A subject that is gone does not read: its exit says more than the broken pipe.
		this.child.stdin?.on('error', () => undefined);
		this.child.stdout?.on('error', () => undefined);
		this.child.stderr?.on('error', () => undefined);
		this.child.on('error', (error) => this.onEnd(`could not be started: ${error.message}`));
		// `close`, not `exit`: what was written before dying is read first. A grandchild may hold the pipe open, so not for long.
		this.child.on('exit', (code, signal) => {
			const how = signal === null ? `ended with exit code ${code}` : `was ended by ${signal}`;
			const timer = setTimeout(() => this.onEnd(how), 500);
			this.child.on('close', () => {
				clearTimeout(timer);
				this.onEnd(how);
			});
		});
	}

	/** True until the first fault. */
	get alive(): boolean {
		return !this.broken && this.ended === undefined;
	}

	async start(request: Readonly<Record<string, unknown>>): Promise<Asked<Started>> {
		return this.check(await this.send(request, this.options.limits.startTimeout), parseStarted);
	}

	async ask(request: Readonly<Record<string, unknown>>): Promise<Asked<Answer>> {
		return this.check(await this.send(request, this.options.limits.timeout), parseAnswer);
	}

	/** Ask it to go, and make sure that it does. */
	async stop(id: number): Promise<void> {
		if (this.alive) {
			this.child.stdin?.write(`${JSON.stringify({ id, op: 'stop' })}\n`);
			this.child.stdin?.end();
			for (let waited = 0; waited < 1000 && this.ended === undefined; waited += 10) await new Promise((done) => setTimeout(done, 10));
		}
		await this.kill();
	}

	/** End every process of it. */
	async kill(): Promise<void> {
		if (this.killed) return;
		this.killed = true;
		this.broken = true;
		this.child.stdout?.destroy();
		this.child.stderr?.destroy();
		this.child.stdin?.destroy();
		if (this.child.pid !== undefined) await this.options.table.kill(this.child.pid, this.mark);
	}

	private send(request: Readonly<Record<string, unknown>>, timeout: number): Promise<Asked<ReadonlyMap<string, unknown>>> {
		return new Promise((resolve) => {
			this.wanted = Number(request['id']);
			this.noise = 0;
			this.reader.reset();
			const timer = setTimeout(() => this.fail('timeout', `no answer within ${timeout / 1000} s`), timeout);
			const poll = CAN_POLL ? setInterval(() => this.pollMemory(), POLL_MS) : undefined;
			this.settle = (outcome) => {
				clearTimeout(timer);
				clearInterval(poll);
				this.settle = undefined;
				resolve(outcome);
			};
			if (this.ended !== undefined) this.fail('crash', `it ${this.ended}`);
			else this.child.stdin?.write(`${JSON.stringify(request)}\n`);
		});
	}

	private async check<T>(
		asked: Asked<ReadonlyMap<string, unknown>>,
		parse: (fields: ReadonlyMap<string, unknown>) => T | string,
	): Promise<Asked<T>> {
		if (asked.kind === 'fault') {
			await this.kill();
			return asked;
		}
		const answer = parse(asked.answer);
		if (typeof answer !== 'string') return { kind: 'answer', answer, noise: asked.noise };
		this.broken = true;
		await this.kill();
		return { kind: 'fault', fault: 'protocol', message: answer, stderr: this.tail() };
	}

	private onLine(line: string): void {
		if (line.trim() === '') return;
		if (!line.startsWith('{')) {
			this.noise++;
			if (this.noise > NOISE_LINES) this.fail('output', `more than ${NOISE_LINES} lines on standard output that are no answer`);
			return;
		}
		let value: unknown;
		try {
			value = JSON.parse(line);
		} catch {
			this.fail('protocol', `a line that is no JSON: ${tame(line, 80)}`);
			return;
		}
		const fields = asFields(value);
		if (fields === undefined) {
			this.fail('protocol', 'a line that is no JSON object');
			return;
		}
		const id = fields.get('id');
		// A second answer to an earlier request: it has been judged by its first.
		if (typeof id === 'number' && id < this.wanted) {
			this.noise++;
			return;
		}
		if (this.settle === undefined) {
			// To the request that was just answered, or to one that is still to come.
			if (id !== this.wanted) this.broken = true;
			return;
		}
		if (id === this.wanted) this.settle({ kind: 'answer', answer: fields, noise: this.noise });
		else this.fail('protocol', `an answer with id ${tame(JSON.stringify(id), 40)} to the request with id ${this.wanted}`);
	}

	private onStderr(chunk: Buffer): void {
		this.stderrBytes += chunk.byteLength;
		if (this.stderrBytes > STDERR_BYTES) {
			this.fail('output', 'more than 256 MiB on standard error');
			return;
		}
		const joined = Buffer.concat([this.stderr, chunk]);
		this.stderr = joined.subarray(Math.max(0, joined.byteLength - STDERR_KEPT));
	}

	private onEnd(how: string): void {
		if (this.ended !== undefined) return;
		this.ended = how;
		const half = this.reader.pending > 0 ? ` in the middle of a line (${this.reader.pending} bytes of it came)` : '';
		this.fail('crash', `it ${how}${half}`);
	}

	private pollMemory(): void {
		const { table, limits } = this.options;
		if (this.child.pid === undefined) return;
		const resident = table.resident(this.child.pid, this.mark);
		if (resident > limits.memory) {
			this.fail('memory', `${Math.round(resident / 2 ** 20)} MiB resident, the limit is ${Math.round(limits.memory / 2 ** 20)} MiB`);
		}
	}

	private fail(fault: Fault, message: string): void {
		this.broken = true;
		if (fault === 'output' || fault === 'memory' || fault === 'timeout') {
			// At once: a flood or a growing process does not wait.
			this.child.stdout?.pause();
			try {
				if (this.child.pid !== undefined) process.kill(-this.child.pid, 'SIGKILL');
			} catch {
				// gone
			}
		}
		this.settle?.({ kind: 'fault', fault, message, stderr: this.tail() });
	}

	private tail(): string {
		return this.stderr
			.toString('utf8')
			.trimEnd()
			.split('\n')
			.slice(-12)
			.map((line) => tame(line, 200))
			.join('\n');
	}
}
