import { type Command, Option } from 'commander';
import type { Case } from '../suite/case.js';
import { LEVELS, type Level } from '../suite/case.js';
import { loadSuite, type Suite } from '../suite/load-suite.js';
import { selectCases } from '../suite/select-cases.js';
import { UsageError } from '../usage-error.js';
import type { Io } from './io.js';

interface ListFlags {
	readonly suite?: string;
	readonly level?: Level;
	readonly filter?: readonly string[];
	readonly json?: boolean;
}

/** `lora-conformance list` */
export function defineList(command: Command, io: Io): void {
	command
		.description('print the cases')
		.option('--suite <dir>', 'another folder of cases')
		.addOption(new Option('--level <level>', 'only levels up to this one').choices([...LEVELS]))
		.option('--filter <pattern...>', 'only ids that fit')
		.option('--json', 'id, level, title, since, tags and source of each')
		.action((flags: ListFlags) => {
			const cases = selectCases(loadSuite(flags.suite).cases, flags);
			if (flags.json === true) {
				const rows = cases.map(({ id, level, title, since, tags, optional, hostile, source }) => ({
					id,
					level,
					title,
					since,
					tags,
					optional,
					hostile,
					source,
				}));
				io.out(`${JSON.stringify(rows, null, '\t')}\n`);
				return;
			}
			for (const { id, title } of cases) io.out(`${id}  ${title}\n`);
			io.out(`${cases.length} cases\n`);
		});
}

/** `lora-conformance show ID` */
export function defineShow(command: Command, io: Io): void {
	command
		.description('print one case: request, expectation, where it comes from')
		.argument('<id>', 'id of the case')
		.option('--suite <dir>', 'another folder of cases')
		.action((id: string, flags: { readonly suite?: string }) => {
			const entry = caseOf(loadSuite(flags.suite), id);
			io.out(`${JSON.stringify(entry, null, '\t')}\n`);
		});
}

/** @throws {UsageError} with the nearest ids. */
export function caseOf(suite: Suite, id: string): Case {
	const found = suite.cases.find((c) => c.id === id);
	if (found !== undefined) return found;
	const last = id.split('/').at(-1) ?? id;
	const near = suite.cases
		.filter((c) => c.id.includes(last))
		.slice(0, 3)
		.map((c) => c.id);
	throw new UsageError(
		`There is no case ${id}${near.length === 0 ? '; "lora-conformance list" prints the ids' : `; did you mean ${near.join(' or ')}?`}.`,
	);
}
