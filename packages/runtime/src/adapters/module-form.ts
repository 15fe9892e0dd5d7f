/**
 * How a module takes part in adaptation. All but `plain` add inputs to the graph:
 *
 * - `plain`: the base's weights, nothing else.
 * - `low-rank`: `PATH:down` (r, in[, kh, kw]) and `PATH:up` (out, r[, 1, 1]), r a size with a name, 0 for no adapter.
 * - `scaled`: also `PATH:row` (out) and `PATH:column` (in), which multiply the output and the input of the base's weight
 *   alone, as `ModuleTerms` of the format package says; `PATH:bias` (out), which is added.
 * - `dense`: `PATH:weight` instead of the base's weight, and `PATH:bias` added to the bias.
 * - `dora`: what the trainer trains: factors, and `PATH:magnitude` (out), which takes the place of the norms of the rows
 *   of base + up down; no gradient goes through those norms (Liu et al., DoRA, arXiv 2402.09353, section 4.3). Inference
 *   has `scaled`, where the norms are counted beforehand.
 */
export type ModuleForm = 'plain' | 'low-rank' | 'scaled' | 'dense' | 'dora';

/** The form of every module, by component and dotted path in diffusers' names. */
export type FormOf = (component: string, path: string) => ModuleForm;

/** What a module takes as inputs of the graph. */
export type ModulePart = 'down' | 'up' | 'row' | 'column' | 'bias' | 'weight' | 'magnitude';

/** The rank of a module's factors where it is known when the graph is recorded; undefined: a size with a name. */
export type RankOf = (component: string, path: string) => number | undefined;

/** Name of a graph input of a module: `unet.down_blocks.0.attentions.0.proj_in:up`. */
export function inputName(component: string, path: string, part: ModulePart): string {
	return `${component}.${path}:${part}`;
}

/** Every linear and convolution can take low-rank factors; norms and embeddings are plain. */
export const lowRankEverywhere: FormOf = () => 'low-rank';

export const plainEverywhere: FormOf = () => 'plain';
