import fs from 'node:fs';
import { FormatError, quote } from '@lorakit/format';
import { hubSettings, readError } from '@lorakit/format/node';
import { applyOverrides, type Objective, parseRunConfig, type RunConfig, readRunYaml } from '@lorakit/trainer';
import type { TrainOptions } from '@lorakit/trainer/node';
import { overridesOf, type TrainFlags } from './train-flags.js';

/** Replaced by the bundler with the version of package.json. */
declare const LORAKIT_VERSION: string;

/** What `lora train` was asked for. */
export interface TrainRequest {
	readonly config: RunConfig;
	readonly options: TrainOptions;
}

/** Largest configuration file in bytes: more is none. */
const MAX_CONFIG_BYTES = 4 << 20;

/**
 * The configuration file with the flags over it, checked, and the rest of the command line.
 * @throws {FormatError} `E_USAGE` for flags that make no sense together, `E_CONFIG` and `E_LIMIT` of the configuration, `E_IO`; `E_HUB` for a push
 *   that would fail after days of training
 */
export function trainRequest(objective: Objective, flags: Readonly<Record<string, unknown>> & TrainFlags): TrainRequest {
	const given = flags.config === undefined ? {} : readConfig(flags.config);
	if (typeof given !== 'object' || given === null || Array.isArray(given)) {
		throw new FormatError('E_CONFIG', `${quote(flags.config ?? '')} is no table of keys, such as base: and data:.`);
	}
	const { document, flagOf } = applyOverrides(given as Readonly<Record<string, unknown>>, overridesOf(flags));
	const config = parseRunConfig(document, objective, { name: flags.config ?? 'the command line', flagOf });
	const { resume } = flags;
	if (flags.resumeChanged === true && resume === undefined)
		throw new FormatError('E_USAGE', '--resume-changed says how to go on; give --resume too.');
	if (resume !== undefined && flags.force === true)
		throw new FormatError('E_USAGE', '--resume goes on with a run and --force replaces it; give one.');
	if (flags.pushToHub !== undefined) checkPush(flags.pushToHub, config, flags);
	return {
		config,
		options: {
			objective,
			version: LORAKIT_VERSION,
			resume: {
				from: resume === undefined || resume === false ? 'none' : resume === true ? 'newest' : { name: resume },
				changed: flags.resumeChanged === true,
			},
			force: flags.force,
			baseModel: flags.baseModel,
			publishAs: flags.pushToHub,
			title: flags.title,
			author: flags.author,
			description: flags.description,
			privateData: flags.privateData,
		},
	};
}

function readConfig(file: string): unknown {
	let text: string;
	try {
		const { size } = fs.statSync(file);
		if (size > MAX_CONFIG_BYTES)
			throw new FormatError('E_LIMIT', `${quote(file)} has ${size} bytes; a configuration has at most ${MAX_CONFIG_BYTES}.`);
		text = fs.readFileSync(file, 'utf8');
	} catch (error) {
		throw error instanceof FormatError ? error : readError(error, file);
	}
	return readRunYaml(text, file);
}

function checkPush(repo: string, { base }: RunConfig, { baseModel }: TrainFlags): void {
	const settings = hubSettings();
	if (settings.offline)
		throw new FormatError('E_HUB', 'HF_HUB_OFFLINE is set, so nothing can be pushed; unset it, or leave --push-to-hub out.');
	if (settings.token === undefined) {
		throw new FormatError('E_HUB', `Pushing to ${quote(repo)} needs a token of the Hub with the right to write; set HF_TOKEN.`);
	}
	if (baseModel === undefined && (base.includes('://') || fs.existsSync(base))) {
		throw new FormatError(
			'E_HUB',
			`The base ${quote(base)} is a path on this machine, which nobody else can load; name it as it is on the Hub with --base-model owner/name to push the result.`,
		);
	}
}
