import fs from 'node:fs';
import path from 'node:path';
import { diagnoseCase } from '../diagnose/diagnose-case.js';
import type { Diagnosis } from '../diagnose/diagnosis.js';
import { judge } from '../judge/judge.js';
import { differs, type JudgeInput, type Verdict } from '../judge/verdict.js';
import type { Started } from '../subject/answer.js';
import type { Case, Profile } from '../suite/case.js';
import { fileRefs, type Suite } from '../suite/load-suite.js';
import { outputPath } from './build-request.js';
import type { CaseResult, Status } from './result.js';
import type { Tried } from './slot.js';

interface Evaluated {
	readonly started: Started | undefined;
	/** Left out: only say whether the case is passed over. */
	readonly tried?: Tried | undefined;
	/** Paths written outside the case's folder. */
	readonly outside?: readonly string[] | undefined;
}

/**
 * The result of one case.
 * @param evaluated undefined: it was not asked, because the subject died too often
 * @returns undefined when `evaluated.tried` is left out and the case is to be asked
 */
export async function evaluate(
	options: { readonly suite: Suite; readonly profile?: Profile | undefined },
	entry: Case,
	evaluated: Evaluated | undefined,
): Promise<CaseResult | undefined> {
	if (evaluated === undefined) {
		return result(entry, 'failed', 'not asked: the subject died or fell silent 10 times in a row', { hint: 'runtime-fault' });
	}
	const { started, tried, outside = [] } = evaluated;
	if (tried === undefined) {
		const reason = started === undefined ? undefined : passedOver(entry, started, options.profile);
		return reason === undefined ? undefined : result(entry, 'skipped', reason, {});
	}
	if (outside.length > 0) {
		const list = outside.slice(0, 3).join(', ');
		return result(entry, 'failed', `it wrote outside its folder: ${list}${outside.length > 3 ? ` and ${outside.length - 3} more` : ''}`, {
			hint: 'wrote-outside',
		});
	}
	const { asked } = tried;
	if (asked.kind === 'fault')
		return result(entry, 'failed', `${asked.fault}: ${asked.message}`, { hint: 'runtime-fault', stderr: asked.stderr });
	const { answer } = asked;
	const expect = (options.profile === undefined ? undefined : entry.profiles?.[options.profile]?.expect) ?? entry.expect;
	switch (answer.kind) {
		case 'skipped':
			return result(entry, 'skipped', answer.message, { url: answer.url });
		case 'error':
			return result(entry, 'failed', `the subject failed: ${answer.message}`, { hint: 'runtime-fault' });
		case 'refused':
			if (expect.refuse === true || expect.orRefuse !== undefined) return result(entry, 'passed', '', {});
			return result(entry, 'failed', `refused, but it is sound${answer.message === '' ? '' : `: ${answer.message}`}`, { hint: 'refused' });
		default:
	}
	const precision = started?.precision ?? 'f32';
	const input: JudgeInput = {
		case: entry,
		expect,
		answer,
		file: (ref) => path.join(options.suite.dir, ref),
		output: (name) => outputPath(tried.dir, name),
		precision,
		allowance: entry.tolerance?.[precision] ?? entry.tolerance?.f32 ?? {},
	};
	// What a subject is compared with: gone, nothing can be said of any subject.
	for (const ref of fileRefs([expect, entry.request])) fs.accessSync(input.file(ref), fs.constants.R_OK);
	const verdict = await judge(input);
	return result(entry, verdict.status, verdict.message, { verdict, input });
}

/** Why a case is not asked; undefined when it is. */
function passedOver(entry: Case, started: Started, profile: Profile | undefined): string | undefined {
	const own = profile === undefined ? undefined : entry.profiles?.[profile];
	if (own?.skip === true) return `profile ${profile}: ${own.why}`;
	if (started.levels !== undefined && !started.levels.has(entry.level)) return `the subject does not do ${entry.level}`;
	const lacking = started.features === undefined ? [] : (entry.features ?? []).filter((f) => started.features?.has(f) !== true);
	return lacking.length === 0 ? undefined : `the subject does not declare ${lacking.join(', ')}`;
}

interface More {
	readonly verdict?: Verdict;
	readonly input?: JudgeInput;
	readonly hint?: string | undefined;
	readonly url?: string | undefined;
	readonly stderr?: string | undefined;
}

/** Paths of this run's temporary folders are other ones in the next run. */
function withoutPaths(text: string): string {
	return text.replace(/(\/[^\s"']*)?\/lora-conformance-\w{6}\/slot-\d+\/(inputs\/|cases\/[0-9a-f-]{36}\/?)?/g, '');
}

async function result(entry: Case, status: Status, text: string, more: More): Promise<CaseResult> {
	const message = withoutPaths(text);
	const verdict = more.verdict ?? (status === 'failed' ? differs(message, [], more.hint) : undefined);
	const diagnosis: Diagnosis | null = status === 'failed' && verdict !== undefined ? await diagnoseCase(verdict, more.input) : null;
	return {
		id: entry.id,
		title: entry.title,
		level: entry.level,
		tags: entry.tags,
		features: entry.features ?? [],
		optional: entry.optional ?? null,
		hostile: entry.hostile ?? false,
		status,
		message,
		url: more.url ?? null,
		measure: verdict?.measure ?? null,
		image: verdict?.image ?? null,
		diagnosis,
		derivation: entry.tolerance?.derivation ?? null,
		source: entry.source,
		wrong: (verdict?.wrong?.map((w) => w.name) ?? verdict?.names ?? []).slice(0, 8),
		stderr: more.stderr === undefined || more.stderr === '' ? null : withoutPaths(more.stderr),
	};
}
