import fs from 'node:fs';
import os from 'node:os';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { diagnoseRun } from '../diagnose/diagnose-run.js';
import { badgeJson } from '../report/badge.js';
import { annotations, consoleReport } from '../report/console-report.js';
import { htmlReport } from '../report/html-report.js';
import { type JunitRun, junitXml } from '../report/junit.js';
import { applyKnownFailing, closingLine, makeReport } from '../report/make-report.js';
import { markdownReport } from '../report/markdown-report.js';
import type { Report } from '../report/report.js';
import { runSuite } from '../run/run-suite.js';
import type { Isolation } from '../subject/sandbox.js';
import { LEVELS, type Level, PROFILES, type Profile } from '../suite/case.js';
import { damagedFiles, loadSuite } from '../suite/load-suite.js';
import { parseKnownFailing, selectCases } from '../suite/select-cases.js';
import { UsageError } from '../usage-error.js';
import { EXIT } from './exit-codes.js';
import type { Io } from './io.js';

interface RunFlags {
	readonly subject: string;
	readonly suite?: string;
	readonly profile?: Profile;
	readonly level?: Level;
	readonly filter?: readonly string[];
	readonly knownFailing?: string;
	readonly jobs: number;
	readonly timeout: number;
	readonly startTimeout: number;
	readonly memory: number;
	readonly isolation: 'auto' | Isolation;
	readonly guard?: readonly string[];
	readonly json?: string;
	readonly junit?: string;
	readonly html?: string;
	readonly md?: string;
	readonly badge?: string;
	readonly quiet?: boolean;
}

/** `lora-conformance run --subject CMD` */
export function defineRun(command: Command, io: Io): void {
	const number = (text: string): number => {
		const value = Number(text);
		if (!(value > 0)) throw new InvalidArgumentError('a number above 0');
		return value;
	};
	command
		.description('run the suite against a program')
		.requiredOption('--subject <command>', 'command line of the subject, run by /bin/sh')
		.option('--suite <dir>', 'another folder of cases')
		.addOption(new Option('--profile <name>', 'where runtimes legitimately differ, judge by this one').choices([...PROFILES]))
		.addOption(new Option('--level <level>', 'only levels up to this one').choices([...LEVELS]))
		.option('--filter <pattern...>', 'only ids that fit: * within a segment, ** across')
		.option('--known-failing <file>', 'patterns of cases that are known to fail')
		.option('--jobs <n>', 'subject processes at a time', number, Math.min(4, os.availableParallelism()))
		.option('--timeout <seconds>', 'for one case', number, 30)
		.option('--start-timeout <seconds>', 'for the answer to start', number, 120)
		.option('--memory <MiB>', 'resident, all processes of the subject together', number, 2048)
		.addOption(
			new Option('--isolation <how>', 'how writes outside are kept away').choices(['auto', 'bubblewrap', 'hashes']).default('auto'),
		)
		.option('--guard <dir...>', 'more folders that the subject must not change')
		.option('--json <file>', 'report as JSON (- for standard output)')
		.option('--junit <file>', 'report as JUnit XML')
		.option('--html <file>', 'report as one HTML page')
		.option('--md <file>', 'report as Markdown ($GITHUB_STEP_SUMMARY is filled by itself)')
		.option('--badge <file>', 'shields endpoint JSON')
		.option('-q, --quiet', 'print the closing line only')
		.action(async (flags: RunFlags) => {
			const report = await run(flags, io);
			io.exit(report.ok ? EXIT.ok : EXIT.failed);
		});
}

async function run(flags: RunFlags, io: Io): Promise<Report> {
	const suite = loadSuite(flags.suite);
	const damaged = damagedFiles(suite);
	if (damaged.length > 0)
		throw new UsageError(`${damaged.length} files of the suite are not those of its manifest (first: ${damaged[0]}).`);
	const cases = selectCases(suite.cases, flags);
	const known = flags.knownFailing === undefined ? [] : parseKnownFailing(readText(flags.knownFailing));
	const began = performance.now();
	const date = new Date();
	const jobs = Math.floor(flags.jobs);
	const outcome = await runSuite({
		suite,
		cases,
		command: flags.subject,
		profile: flags.profile,
		jobs,
		limits: { timeout: flags.timeout * 1000, startTimeout: flags.startTimeout * 1000, memory: flags.memory * 2 ** 20 },
		isolation: flags.isolation,
		guards: flags.guard,
		signal: io.signal,
		onResult: (result, done) => {
			if (flags.quiet !== true && io.interactive) io.progress(`${done}/${cases.length} ${result.id}`);
		},
	});
	// Patterns of cases that were not selected are not stale.
	const all =
		flags.level === undefined && flags.filter === undefined
			? known
			: known.filter((k) => outcome.results.some((r) => k.fits(r.id)) || !suite.cases.some((c) => k.fits(c.id)));
	const { results, stale } = applyKnownFailing(outcome.results, all);
	const diagnoses = await diagnoseRun(suite, results, outcome.started.precision);
	const seconds = (performance.now() - began) / 1000;
	const report = makeReport({ suite: suite.version, profile: flags.profile, outcome, results, diagnoses, stale, seconds, jobs });
	write(report, { times: outcome.times, began: date, host: os.hostname() }, flags, io);
	return report;
}

function write(report: Report, run: JunitRun, flags: RunFlags, io: Io): void {
	const json = `${JSON.stringify(report, null, '\t')}\n`;
	const files: readonly (readonly [string | undefined, () => string])[] = [
		[flags.json, () => json],
		[flags.junit, () => junitXml(report, run)],
		[flags.html, () => htmlReport(report)],
		[flags.md, () => markdownReport(report)],
		[flags.badge, () => badgeJson(report)],
	];
	const toStdout = flags.json === '-';
	for (const [file, make] of files) {
		if (file === undefined) continue;
		if (file === '-') io.out(make());
		else fs.writeFileSync(file, make());
	}
	const summary = process.env['GITHUB_STEP_SUMMARY'];
	if (summary !== undefined && summary !== '') fs.appendFileSync(summary, markdownReport(report));
	if (process.env['GITHUB_ACTIONS'] === 'true') io.err(annotations(report));
	const text = flags.quiet === true ? '' : consoleReport(report);
	(toStdout ? io.err : io.out)(`${text}${closingLine(report.counts)}\n`);
}

function readText(file: string): string {
	try {
		return fs.readFileSync(file, 'utf8');
	} catch {
		throw new UsageError(`${file} cannot be read.`);
	}
}
