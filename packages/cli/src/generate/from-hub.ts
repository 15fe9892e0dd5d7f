import type { Warning } from '@lorakit/format';
import { fetchAdapter, fetchBase } from '@lorakit/runtime/node';
import type { Output } from '../output.js';
import { createProgress } from '../progress.js';
import type { GenerateFlags } from './generate-request.js';

/** What a repository of the Hub stands for: the flags with local paths, and what should be said. */
export interface FromHub {
	readonly flags: GenerateFlags;
	readonly warnings: readonly Warning[];
	readonly notes: readonly string[];
}

/** The number behind the last `@`, as in `--lora FILE@0.8`; another word there is a revision. */
const SCALE = /^(.+)@([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)$/iu;

/**
 * `--from-hub owner/lora[@revision][@scale]`: the adapter, and the base that its card names (unless `--base` is given), in
 * the Hub's own cache.
 * @throws {FormatError} those of `fetchAdapter` and `fetchBase`.
 */
export async function fromHub(spec: string, flags: GenerateFlags, output: Output): Promise<FromHub> {
	const match = SCALE.exec(spec);
	const [repo, scale] = match === null ? [spec, undefined] : [match[1] ?? spec, match[2]];
	const progress = createProgress(output, repo);
	const options = {
		offline: flags.offline,
		onProgress: ({ totalReceived, totalSize }: { readonly totalReceived: number; readonly totalSize: number }) =>
			progress.update?.(totalReceived, totalSize),
	};
	try {
		const adapter = await fetchAdapter(repo, { ...options, findBase: flags.base === undefined });
		const notes = [`${adapter.repo}@${adapter.revision.slice(0, 10)} is ${adapter.file}`];
		let { base } = flags;
		if (base === undefined && adapter.base !== undefined) {
			base = await fetchBase(adapter.base.repo, { ...options, revision: adapter.base.revision, variant: flags.variant });
			notes.push(`its card names the base ${adapter.base.repo}, which is ${base}`);
		}
		const lora = [scale === undefined ? adapter.file : `${adapter.file}@${scale}`, ...(flags.lora ?? [])];
		return { flags: { ...flags, base, lora }, warnings: adapter.warnings, notes };
	} finally {
		progress.end();
	}
}
