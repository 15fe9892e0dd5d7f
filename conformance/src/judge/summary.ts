import { type CaseMeasure, figure, gradeOf, type TensorMeasure } from './measure.js';
import { some, type Verdict } from './verdict.js';

/** Sums over the tensors of one case. */
export class Summary {
	private readonly wrong: TensorMeasure[] = [];
	private tensors = 0;
	private weight = 0;
	private gains = 0;
	private cosines = 0;
	private error = 0;
	private ulps = 0;
	private share = 0;
	private readonly graded: boolean;

	/** @param graded weights are compared: the error in ulps has a grade */
	constructor(graded: boolean) {
		this.graded = graded;
	}

	add(m: TensorMeasure): void {
		this.tensors++;
		if (Number.isFinite(m.gain)) {
			this.weight++;
			this.gains += m.gain;
			this.cosines += Number.isFinite(m.cosine) ? m.cosine : 0;
		}
		this.error = Math.max(this.error, m.error);
		this.ulps = Math.max(this.ulps, m.ulps);
		this.share = Math.max(this.share, m.share);
		if (m.share > 1) this.wrong.push(m);
	}

	get failed(): boolean {
		return this.wrong.length > 0;
	}

	measure(): CaseMeasure {
		const some = this.weight > 0;
		return {
			tensors: this.tensors,
			gain: some ? figure(this.gains / this.weight) : null,
			cosine: some ? figure(this.cosines / this.weight) : null,
			error: figure(this.error) ?? -1,
			ulps: figure(this.ulps) ?? -1,
			grade: this.graded ? gradeOf(this.ulps) : null,
			share: figure(this.share) ?? -1,
		};
	}

	/** @param what `the delta of`, `the weights of` */
	verdict(what: string): Verdict {
		const measure = this.measure();
		const wrong = [...this.wrong].sort((a, b) => b.share - a.share || (a.name < b.name ? -1 : 1));
		const [worst] = wrong;
		if (worst === undefined) return { status: 'passed', message: '', measure };
		const names = wrong.map((w) => w.name);
		const times = Number.isFinite(worst.share) ? `${figure(worst.share)} times its allowance` : 'not finite';
		return {
			status: 'failed',
			message: `${what} ${some(names, 1)} is off by ${figure(worst.error)}, ${times} (gain ${gainText(worst.gain)}, cosine ${gainText(worst.cosine)})`,
			measure,
			wrong,
		};
	}
}

/** Four digits, or `-` where nothing was expected. */
export function gainText(x: number): string {
	return Number.isFinite(x) ? String(Number(x.toPrecision(4))) : '-';
}
