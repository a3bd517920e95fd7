/* recall.h - samples of InfiniteBench's retrieval kind: a pass key or a number in noise, a value of a JSON object; the classic needle
 * in a text; and samples of the user's own files (JSON lines).
 * Owns: what its functions make. MPI: none. Source: InfiniteBench (templates, scores), LLMTest_NeedleInAHaystack
 * (needle, question), in natsl's own lengths. Tests:
 * tests/unit/test_eval.c */
#ifndef NATSL_RECALL_H
#define NATSL_RECALL_H

#include "eval_task.h"

/** As natsl_eval_check and natsl_eval_make, for tasks from NATSL_EVAL_PASSKEY on. bytes: of the prompt, at most, where it is made of a
 * haystack. */
natsl_status natsl_recall_check(const natsl_eval_settings *settings, const natsl_eval_task *task, int64_t length);
natsl_status natsl_recall_make(const natsl_eval_settings *settings, const natsl_eval_task *task, int64_t length,
                               int64_t index, int64_t bytes, natsl_rng rng, natsl_eval_sample *out);

/** A file of samples. */
typedef struct natsl_eval_lines {
    const char *path;       /* (borrowed) */
    char name[128];         /* of the task: the file's without ".jsonl"; of RULER's layout <task>_<length> */
    int64_t *begin, *bytes; /* [count] of the lines that hold samples */
    int64_t *first;      /* [count] the first of the samples in a row, up to this one, that have the same "context" */
    int shares;          /* 1: some have */
    int64_t count, bad;  /* lines that do not */
    int64_t longest;     /* tokens of a prompt */
    char complaint[512]; /* about the first bad line */
} natsl_eval_lines;

/** Looks through a file. measure: of tokens, NULL: bytes. A line has "input" and "outputs" (RULER; "answer_prefix" follows the input, if it is there) or "context",
 * "input", "question" or "query", and "answer" or "outputs" (InfiniteBench, HELMET: context, two line feeds, question, and
 * "answer_prefix" or a line feed). Lines without one are counted where keep_going is 1, else the first is an error:
 * A sample's "context" with the line feeds is what it may share.
 * NATSL_ERR_INPUT names line and reason. NATSL_ERR_INPUT also when no line is a sample; NATSL_ERR_NOMEM. */
natsl_status natsl_eval_lines_scan(const char *path, int keep_going, natsl_measure *measure, natsl_eval_lines *out);
void natsl_eval_lines_free(natsl_eval_lines *lines);

/** Windows of `length` tokens of a document, one after the other: at least one, which may be shorter. */
int64_t natsl_document_windows(const natsl_hay *document, int64_t length);

/** The task's name that a file gives: its own without ".jsonl" or ".txt"; "validation.jsonl" of RULER's layout is named by the
 * directories it is in: <task>_<length>. */
void natsl_task_name(const char *path, char *name, size_t size);

/** A slice of the text from a random place (repeated where the text is short), from behind a "." on, in whole characters: *length bytes,
 * of which *length may become up to 3 fewer. natsl_free it; NULL: no memory. */
char *natsl_hay_slice(const natsl_hay *hay, natsl_rng *rng, int64_t *length);

#endif
