/* text_out.c - see text_out.h. */
#include "text_out.h"

#include "core.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define TRIES 1000

natsl_status natsl_text_out_open(const char *path, natsl_text_out *out)
{
    out->path = path;
    out->file = NULL;
    for (int i = 0; i < TRIES && !out->file; i++) { /* a killed process that had this number may have left one */
        const int n = snprintf(out->temporary, sizeof out->temporary, "%s.tmp-%ld-%d", path, (long)getpid(), i);
        if (n < 0 || (size_t)n >= sizeof out->temporary)
            return natsl_fail(NATSL_ERR_USAGE, "%.100s...: the path is too long", path);
        errno = 0;
        out->file = fopen(out->temporary, "wx");
        if (!out->file && errno != EEXIST) break;
    }
    if (!out->file) return natsl_fail(NATSL_ERR_IO, "%s: %s", out->temporary, strerror(errno));
    natsl_temporary_set(out->temporary);
    errno = 0;
    return NATSL_OK;
}

void natsl_text_out_abandon(natsl_text_out *out)
{
    (void)fclose(out->file);
    (void)unlink(out->temporary);
    natsl_temporary_set("");
}

natsl_status natsl_text_out_close(natsl_text_out *out, int bad)
{
    natsl_status st = NATSL_OK;
    bad = bad || fflush(out->file) != 0 || fsync(fileno(out->file)) != 0;
    int why = errno;
    if (fclose(out->file) != 0 && !bad) bad = 1, why = errno;
    if (!bad && rename(out->temporary, out->path) != 0) bad = 1, why = errno;
    if (bad) {
        st = natsl_fail(NATSL_ERR_IO, "%s: %s", out->path, why ? strerror(why) : "writing failed");
        (void)unlink(out->temporary);
    }
    natsl_temporary_set("");
    return st;
}
