import type { CaseResult } from '../run/result.js';
import type { Case, ForwardRequest, ImageRequest } from '../suite/case.js';

/** The tag of L5 cases that ask one layer of a model that L6 runs; their ids are in the order of the run. */
const LAYER = 'layer';

/**
 * Failed runs of L6, with the layer where it starts: the first that is wrong among the L5 cases of the same base and
 * adapters. Null where the subject was not asked for any of them, or answers them all rightly.
 */
export function locateLayers(cases: readonly Case[], results: readonly CaseResult[]): readonly CaseResult[] {
	const layers = cases.filter((c) => c.tags.includes(LAYER) && c.request.op === 'forward');
	const status = new Map(results.map((r) => [r.id, r.status]));
	const requests = new Map(cases.map((c) => [c.id, c.request]));
	return results.map((result): CaseResult => {
		const { image, diagnosis } = result;
		const request = requests.get(result.id);
		if (result.status !== 'failed' || image === null || image.firstStep === null || request?.op !== 'image') return result;
		const mine = layersOf(request, layers);
		const first = mine.find((c) => status.get(c.id) === 'failed');
		const asked = mine.some((c) => status.get(c.id) === 'passed');
		const said =
			first !== undefined
				? `the first wrong layer is ${keyOf(first)} (${first.id})`
				: asked
					? 'no single layer that was asked at L5 is wrong'
					: 'the layer is unknown: no single layer was asked at L5';
		const layer = first === undefined ? null : keyOf(first);
		return {
			...result,
			message: `${result.message}; ${said}`,
			image: { ...image, layer },
			diagnosis: diagnosis === null || layer === null ? diagnosis : { ...diagnosis, modules: [layer] },
		};
	});
}

/** By adapter, as the run has them; of each in the order of the run. */
function layersOf({ base, adapters }: ImageRequest, layers: readonly Case[]): readonly Case[] {
	const unet = base.components?.['unet'];
	return adapters.flatMap(({ file }) =>
		layers.filter(({ request }) => {
			const { base: other, adapters: single } = request as ForwardRequest;
			return other.components?.['unet'] === unet && single.length === 1 && single[0]?.file === file;
		}),
	);
}

function keyOf({ request }: Case): string {
	const { component, module } = request as ForwardRequest;
	return `${component}.${module}`;
}
