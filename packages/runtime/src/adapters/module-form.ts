/**
 * How a module takes part in adaptation. All but `plain` add inputs to the graph:
 *
 * - `plain`: the base's weights, nothing else.
 * - `low-rank`: `PATH:down` (r, in[, kh, kw]) and `PATH:up` (out, r[, 1, 1]), r a size with a name, 0 for no adapter.
 * - `scaled`: also `PATH:row` (out) and `PATH:column` (in), which multiply the output and the input of the base's weight
 *   alone, as `ModuleTerms` of the format package says; `PATH:bias` (out), which is added.
 * - `dense`: `PATH:weight` instead of the base's weight, and `PATH:bias` added to the bias.
 */
export type ModuleForm = 'plain' | 'low-rank' | 'scaled' | 'dense';

/** The form of every module, by component and dotted path in diffusers' names. */
export type FormOf = (component: string, path: string) => ModuleForm;

/** Name of a graph input of a module: `unet.down_blocks.0.attentions.0.proj_in:up`. */
export function inputName(component: string, path: string, part: 'down' | 'up' | 'row' | 'column' | 'bias' | 'weight'): string {
	return `${component}.${path}:${part}`;
}

/** Every linear and convolution can take low-rank factors; norms and embeddings are plain. */
export const lowRankEverywhere: FormOf = () => 'low-rank';

export const plainEverywhere: FormOf = () => 'plain';
