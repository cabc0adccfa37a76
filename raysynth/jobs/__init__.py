"""Jobs: any command of the command line, run on a Ray cluster that is there already (`raysynth submit`)."""

from raysynth.jobs.cluster import JobCluster, JobStatus
from raysynth.jobs.work import Resources, Work, new_job_id

__all__ = ["JobCluster", "JobStatus", "Resources", "Work", "new_job_id"]
