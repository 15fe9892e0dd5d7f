import type { Embedding } from '../../adapter.js';
import { FormatError, quote, type Warning } from '../../errors.js';
import type { AdapterUse } from '../strength/adapter-use.js';

/** What to do about a token that two adapters have with different vectors. */
export type EmbeddingChoice = 'refuse' | 'first' | 'last' | 'rename';

/**
 * The embeddings of all adapters. The same token with the same bytes is one; with other bytes it is refused, unless a choice says which
 * one stays, or that the later one gets a new name (`<s1>` -> `<s1>_2`, a warning says so). Strengths do not act on them: a token stands for its vector.
 *
 * @throws {FormatError} `E_NAME_COLLISION`, and what reading the vectors throws.
 */
export async function mergeEmbeddings(
	uses: readonly AdapterUse[],
	choice: EmbeddingChoice,
): Promise<{ readonly embeddings: readonly Embedding[]; readonly warnings: readonly Warning[] }> {
	const warnings: Warning[] = [];
	const taken = new Map<string, { readonly embedding: Embedding; readonly from: string }>();
	for (const { adapter, name } of uses) {
		const renamed = new Map<string, string>();
		for (const own of adapter.embeddings) {
			const token = renamed.get(own.token) ?? own.token;
			const embedding = token === own.token ? own : { ...own, token };
			const before = taken.get(keyOf(embedding));
			if (before === undefined) taken.set(keyOf(embedding), { embedding, from: name });
			else if (await sameVectors(before.embedding, embedding)) continue;
			else if (choice === 'last') taken.set(keyOf(embedding), { embedding, from: name });
			else if (choice === 'rename') {
				const next = freeToken(own.token, new Set([...taken.values()].map((t) => t.embedding.token)));
				renamed.set(own.token, next);
				taken.set(keyOf({ ...own, token: next }), { embedding: { ...own, token: next }, from: name });
				warnings.push({
					code: 'W_EMBEDDING_BESIDE',
					message: `The token ${quote(own.token)} of ${quote(name)} is called ${quote(next)} in the result, because ${quote(before.from)} has one of that name.`,
					at: own.token,
				});
			} else if (choice === 'refuse') {
				throw new FormatError(
					'E_NAME_COLLISION',
					`${quote(before.from)} and ${quote(name)} both have the token ${quote(own.token)}, with different vectors; choose with --embeddings first, last or rename.`,
					{ at: own.token },
				);
			}
		}
	}
	return { embeddings: [...taken.values()].map((t) => t.embedding), warnings };
}

function keyOf({ token, slot, component }: Embedding): string {
	return `${component}\u0000${slot}\u0000${token}`;
}

function freeToken(token: string, taken: ReadonlySet<string>): string {
	let n = 2;
	while (taken.has(`${token}_${n}`)) n++;
	return `${token}_${n}`;
}

async function sameVectors(a: Embedding, b: Embedding): Promise<boolean> {
	const [x, y] = [a.vectors, b.vectors];
	if (x.dtype !== y.dtype || x.nbytes !== y.nbytes || x.shape.length !== y.shape.length || x.shape.some((d, i) => d !== y.shape[i]))
		return false;
	const [p, q] = [await x.read(), await y.read()];
	return p.every((byte, i) => byte === q[i]);
}
